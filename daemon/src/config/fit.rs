//! Fits the layers to the types of the config, and reports every value that the types refuse.
//!
//! There is no list of keys to keep in step with the types: serde's error names the refused key, what it accepts, and which keys there are.
//! The refused value is reported and taken out of its layer, and the rest is tried again until it fits. So no mistake hides another one.

use figment::Figment;
use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::document::Document;
use super::nearest::{nearest, suggestion};
use super::report::Report;
use super::validate::later::reserved_kind;
use super::{Config, EMBEDDED};

/// The key that decides which other keys an element of an array of tables has.
const TAG: &str = "kind";

/// The plain tables of the embedded file: every key that there is, with its default.
pub(super) fn embedded() -> Dict {
    Document::parse(EMBEDDED).dict()
}

impl Default for Config {
    #[allow(clippy::expect_used, reason = "the embedded file is part of the program, and tests read it")]
    fn default() -> Self {
        extract(&Dict::new(), &Dict::new()).expect("the embedded file has every key")
    }
}

/// The config that the layers make, or the path to what the types refuse first, and why.
fn extract(file: &Dict, environment: &Dict) -> Result<Config, (Vec<String>, Kind)> {
    Figment::from(Serialized::defaults(embedded()))
        .merge(Serialized::defaults(file))
        .merge(Serialized::defaults(environment))
        .extract()
        .map_err(|error| (error.path, error.kind))
}

/// The config of the embedded file, the operator's file and the environment, each over the one before. A refused key is at its default.
pub(super) fn fit(mut file: Dict, mut environment: Dict, report: &mut Report<'_>) -> Config {
    loop {
        let (mut path, kind) = match extract(&file, &environment) {
            Ok(config) => return config,
            Err(refused) => refused,
        };
        let table = match walk(&mut file, &path) {
            Some(Value::Dict(_, table)) => Some(table),
            _ => None,
        };
        match (&kind, table) {
            // The tag is the one key without a default. Empty, it is refused with the list of what it may be.
            (Kind::MissingField(tag), Some(element)) => {
                element.insert(tag.clone().into_owned(), Value::from(""));
                continue;
            }
            (Kind::UnknownField(key, _), _) if path.last() != Some(key) => path.push(key.clone()),
            (_, Some(element)) if path.len() == 2 => path.extend(culprit(&path[0], element, &kind)),
            _ => {}
        }
        let is_key = path.len() == 1 || matches!(kind, Kind::UnknownField(..));
        report.refuse(&path.join("."), is_key, explain(&path, &kind));
        match (&kind, &path[..], walk(&mut file, &path[..path.len().min(2)])) {
            (Kind::UnknownVariant(written, kinds), [array, _, key], Some(Value::Dict(_, element)))
                if key == TAG =>
            {
                if reserved_kind(array, written).is_some() {
                    without_mistakes(element);
                } else {
                    assume_kind(array, element, kinds);
                }
            }
            // A table that lacks a pair of brackets is still looked at, because it may have mistakes of its own.
            (Kind::InvalidType(_, expected), [_], Some(table @ Value::Dict(..)))
                if expected == "a sequence" =>
            {
                *table = Value::from(vec![table.clone()]);
            }
            _ => {
                if !take_out(&mut environment, &path) && !take_out(&mut file, &path) {
                    return Config::default();
                }
            }
        }
    }
}

/// The value at a path such as `source`, `0`, `path`.
fn walk<'v>(layer: &'v mut Dict, path: &[String]) -> Option<&'v mut Value> {
    let (table, rest) = path.split_first()?;
    rest.iter().try_fold(layer.get_mut(table)?, |value, segment| match value {
        Value::Dict(_, table) => table.get_mut(segment),
        Value::Array(_, elements) => elements.get_mut(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Removes the key that a path leads to, or leads into; of an array with an element that is no table the whole array.
fn take_out(layer: &mut Dict, path: &[String]) -> bool {
    let (Some(table), Some(key)) = (path.first(), key_of(path)) else { return false };
    let parents = if is_in_array(path) { 2 } else { 1 };
    match walk(layer, &path[..parents.min(path.len())]) {
        Some(Value::Dict(_, table)) if path.len() > parents => table.remove(key).is_some(),
        Some(_) => layer.remove(table).is_some(),
        None => false,
    }
}

/// The first key of an element that the types refuse for this reason. Needed because the path of such an error ends at the element.
fn culprit(array: &str, element: &Dict, kind: &Kind) -> Option<String> {
    let tag = element.get_key_value(TAG)?;
    let mut keys = std::iter::once(tag).chain(element);
    keys.find(|key| refusal(array, &[tag, *key]).as_ref() == Some(kind)).map(|(key, _)| key.clone())
}

/// Why the types refuse an element that has only these keys, if they do.
fn refusal(array: &str, keys: &[(&String, &Value)]) -> Option<Kind> {
    let element: Dict = keys.iter().map(|(key, value)| ((*key).clone(), (*value).clone())).collect();
    let alone = Dict::from([(array.to_owned(), Value::from(vec![Value::from(element)]))]);
    extract(&alone, &Dict::new()).err().map(|(_, kind)| kind)
}

/// Gives an element the kind to which most of its keys belong, so that they are still checked.
fn assume_kind(array: &str, element: &mut Dict, kinds: &[&str]) {
    let tag = TAG.to_owned();
    element.remove(TAG);
    let known_keys = |kind: &Value| {
        let is_known = |key: &(&String, &Value)| {
            !matches!(refusal(array, &[(&tag, kind), *key]), Some(Kind::UnknownField(..)))
        };
        element.iter().filter(is_known).count()
    };
    let likeliest = kinds.iter().map(|kind| Value::from(*kind)).max_by_key(known_keys);
    element.extend(likeliest.map(|kind| (tag, kind)));
}

/// Replaces a source of a reserved kind by one without mistakes, because the keys of that kind are not known yet.
fn without_mistakes(element: &mut Dict) {
    element.retain(|key, _| key == "name");
    let stands_for = [(TAG, "nats"), ("subject", "hark.audio.reserved")];
    element.extend(stands_for.map(|(key, value)| (key.to_owned(), Value::from(value))));
}

/// Whether a path leads into an array of tables.
fn is_in_array(path: &[String]) -> bool {
    path.get(1).is_some_and(|segment| segment.parse::<usize>().is_ok())
}

/// The key that the operator wrote: `servers` of `nats`, `servers`, `1`.
fn key_of(path: &[String]) -> Option<&String> {
    path.get(if is_in_array(path) { 2 } else { 1 }).or(path.first())
}

/// The mistake in the operator's words.
fn explain(path: &[String], kind: &Kind) -> String {
    let (name, key) = (path.first().map_or("", String::as_str), key_of(path).map_or("", String::as_str));
    let table = if is_in_array(path) { format!("[[{name}]]") } else { format!("[{name}]") };
    match kind {
        Kind::UnknownField(_, tables) if path.len() == 1 => match home_of(name) {
            Some(home) => format!("key {name:?} stands above every table; it belongs into [{home}]"),
            None => format!("unknown table [{name}]{}", suggestion(name, tables)),
        },
        Kind::UnknownField(_, there_are) => {
            let hint = match home_of(key) {
                Some(home) if nearest(key, there_are.iter().copied()).is_none() => {
                    format!("; it belongs into [{home}]")
                }
                _ => suggestion(key, there_are),
            };
            let own = if name == "plugin" {
                "; what the plugin itself reads stands in [plugin.config]"
            } else {
                ""
            };
            format!("unknown key {key:?} in {table}{hint}{own}")
        }
        Kind::UnknownVariant(written, there_are) if written.is_empty() => {
            format!("{table} lacks {key:?}{}", suggestion("", there_are))
        }
        Kind::UnknownVariant(written, there_are) => reserved_kind(name, written).unwrap_or_else(|| {
            format!("{key} = {written:?} of {table} is not known{}", suggestion(written, there_are))
        }),
        Kind::InvalidType(_, expected) if path.len() == 1 && expected == "a sequence" => {
            format!("there may be several of {name:?}; write [[{name}]]")
        }
        Kind::InvalidType(..) if path.len() == 1 => format!("{name:?} is a table; write [{name}]"),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("{key} of {table} must be {}", wanted(expected))
        }
        Kind::Message(text) => format!("{key} of {table}: {text}"),
        other => format!("{key} of {table}: {other}"),
    }
}

/// The plain table that has this key.
fn home_of(key: &str) -> Option<String> {
    let has = |table: &Value| table.as_dict().is_some_and(|keys| keys.contains_key(key));
    embedded().into_iter().find(|(_, table)| has(table)).map(|(name, _)| name)
}

/// An expected type, from serde's words into the operator's.
fn wanted(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more, that is not too large",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list, as in [\"…\"]",
        "a map" => "a table",
        "a string" | "path string" => "a text in quotes, as in \"us\" or \"30s\"",
        other if other.starts_with("enum ") => "one of the words that the manual lists, in quotes",
        other => other,
    }
}
