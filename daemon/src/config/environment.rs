//! The top layer: environment variables `HARK_SECTION__KEY`.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::EMBEDDED;
use super::document::to_value;
use super::fit::embedded;
use super::mistakes::{Mistake, Place};
use super::nearest::nearest;

/// Variables without `__` are not Hark's: Kubernetes sets `HARK_PORT` for a service named hark.
const PREFIX: &str = "HARK_";

/// One variable that sets one key.
pub(super) struct Setting {
    pub(super) variable: String,
    pub(super) table: String,
    pub(super) key: String,
    value: Value,
}

/// The settings of the environment, and a mistake for each of Hark's variables that sets no key.
pub(super) fn settings(variables: &BTreeMap<String, String>) -> (Vec<Setting>, Vec<Mistake>) {
    let embedded = embedded();
    let (mut settings, mut mistakes) = (Vec::new(), Vec::new());
    for (variable, text) in variables {
        let Some((table, key)) = variable.strip_prefix(PREFIX).and_then(|name| name.split_once("__")) else {
            continue;
        };
        let (table, key) = (table.to_lowercase(), key.to_lowercase());
        match embedded.get(&table).and_then(|table| table.as_dict()?.get(&key)) {
            Some(default) => {
                let value = value_like(default, text);
                settings.push(Setting { variable: variable.clone(), table, key, value });
            }
            None => {
                let text = match format!("[[{table}]]") {
                    array if EMBEDDED.contains(&array) => {
                        format!("{array} cannot be set by the environment; write it into the file")
                    }
                    _ => format!("sets no key that there is{}", nearest_variable(&embedded, variable)),
                };
                mistakes.push(Mistake { place: Place::Variable(variable.clone()), text });
            }
        }
    }
    (settings, mistakes)
}

fn nearest_variable(embedded: &Dict, variable: &str) -> String {
    let variables: Vec<String> = embedded
        .iter()
        .flat_map(|(table, keys)| {
            keys.as_dict().into_iter().flat_map(Dict::keys).map(move |key| (table, key))
        })
        .map(|(table, key)| format!("{PREFIX}{}__{}", table.to_uppercase(), key.to_uppercase()))
        .collect();
    match nearest(variable, variables.iter().map(String::as_str)) {
        Some(candidate) => format!("; did you mean {candidate}?"),
        None => {
            "; the environment sets keys of plain tables, [[source]] and its like stand in the file".into()
        }
    }
}

/// Parses a text as the type of the key's default. A text that cannot be parsed stays a text, and the types say what it should be.
fn value_like(default: &Value, text: &str) -> Value {
    match default {
        Value::String(..) => Value::from(text),
        Value::Array(..) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(Value::from).collect::<Vec<_>>())
        }
        _ => match toml::de::DeValue::parse(text.trim()) {
            Ok(value) => to_value(value.get_ref()),
            Err(_) => Value::from(text),
        },
    }
}

/// The settings as the layer that figment merges.
pub(super) fn layer(settings: &[Setting]) -> Dict {
    let mut layer = Dict::new();
    for setting in settings {
        let table = layer.entry(setting.table.clone()).or_insert_with(|| Value::from(Dict::new()));
        if let Value::Dict(_, table) = table {
            table.insert(setting.key.clone(), setting.value.clone());
        }
    }
    layer
}
