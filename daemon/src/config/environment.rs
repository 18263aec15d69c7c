//! The top layer: environment variables `HARK_SECTION__KEY`.

use figment::value::{Dict, Value};

use super::document::to_value;
use super::nearest::nearest;
use super::schema::Schema;

/// Variables without `__` are not Hark's: Kubernetes sets `HARK_PORT` for a service named hark.
const PREFIX: &str = "HARK_";

/// One variable that sets one key.
pub(super) struct Setting {
    pub(super) variable: String,
    pub(super) table: String,
    pub(super) key: String,
    pub(super) value: Value,
}

/// The key that a variable sets, or what is wrong with the variable; `None` if it is not Hark's.
pub(super) fn setting(schema: &Schema, variable: &str, text: &str) -> Option<Result<Setting, String>> {
    let (table, key) = variable.strip_prefix(PREFIX)?.split_once("__")?;
    Some(known(schema, variable, &table.to_lowercase(), &key.to_lowercase(), text))
}

fn known(schema: &Schema, variable: &str, table: &str, key: &str, text: &str) -> Result<Setting, String> {
    if schema.is_array(table) {
        return Err(format!("[[{table}]] cannot be set by the environment; write it into the file"));
    }
    let Some(default) = schema.default_of(table, key) else {
        let candidates: Vec<String> = schema.keys().map(|(table, key)| name(table, key)).collect();
        let hint = match nearest(variable, candidates.iter().map(String::as_str)) {
            Some(candidate) => format!("; did you mean {candidate}?"),
            None => String::new(),
        };
        return Err(format!("sets no key that there is{hint}"));
    };
    let value = value_like(default, text);
    schema.accepts(table, key, value.clone())?;
    Ok(Setting { variable: variable.to_owned(), table: table.to_owned(), key: key.to_owned(), value })
}

fn name(table: &str, key: &str) -> String {
    format!("{PREFIX}{}__{}", table.to_uppercase(), key.to_uppercase())
}

/// Parses a text as the type of the key's default. A text that cannot be parsed stays a text, and the schema reports what it should be.
fn value_like(default: &Value, text: &str) -> Value {
    let as_toml = || toml_value(text).unwrap_or_else(|| Value::from(text));
    match default {
        Value::String(..) => Value::from(text),
        Value::Array(..) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(Value::from).collect::<Vec<_>>())
        }
        _ => as_toml(),
    }
}

fn toml_value(text: &str) -> Option<Value> {
    toml::de::DeValue::parse(text.trim()).ok().map(|value| to_value(value.get_ref()))
}

/// Collects settings into the layer that figment merges.
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
