//! Which keys exist and what they accept, found out from the types themselves.
//!
//! There is no table of keys to keep in step with the types: each key is tried alone, everything else at its default, and serde's error
//! gives the answer (an unknown field and the known fields, an unknown variant and the known variants). So the reported mistakes always
//! match what the daemon accepts.

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::Config;
use super::nearest::{nearest, suggestion};

/// The key that decides which keys an element of an array of tables has.
pub(super) const TAG: &str = "kind";

/// The defaults as values, from which the names of tables and keys are read.
pub(super) struct Schema {
    defaults: Dict,
}

/// What the types require of an element of an array of tables.
pub(super) struct Element {
    /// The required keys, with values that any type accepts; the tag is among them.
    pub(super) smallest: Dict,
    /// The mistake in the tag, if there is one; the other keys are then checked against the variant that fits best.
    pub(super) tag_mistake: Option<String>,
}

impl Schema {
    pub(super) fn new() -> Self {
        let defaults = match Value::serialize(Config::default()) {
            Ok(Value::Dict(_, defaults)) => defaults,
            // Strings, numbers and lists can always be serialized; the tests read every key.
            _ => Dict::new(),
        };
        Schema { defaults }
    }

    /// `source`, `route`, …: written `[[source]]`.
    pub(super) fn is_array(&self, table: &str) -> bool {
        matches!(self.defaults.get(table), Some(Value::Array(..)))
    }

    /// `dashscope`, `nats`, …: written `[nats]`.
    pub(super) fn is_table(&self, table: &str) -> bool {
        matches!(self.defaults.get(table), Some(Value::Dict(..)))
    }

    /// All tables, arrays included.
    pub(super) fn tables(&self) -> Vec<&str> {
        self.defaults.keys().map(String::as_str).collect()
    }

    /// All keys of the plain tables.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.defaults.iter().flat_map(|(table, value)| {
            let keys = value.as_dict().into_iter().flat_map(Dict::keys);
            keys.map(move |key| (table.as_str(), key.as_str()))
        })
    }

    pub(super) fn default_of(&self, table: &str, key: &str) -> Option<&Value> {
        self.defaults.get(table)?.as_dict()?.get(key)
    }

    /// Tries one key of a plain table.
    ///
    /// # Errors
    /// A sentence that names what the key accepts, or the key that was meant.
    pub(super) fn accepts(&self, table: &str, key: &str, value: Value) -> Result<(), String> {
        let tried = Dict::from([(table.to_owned(), Value::from(Dict::from([(key.to_owned(), value)])))]);
        probe(tried).map_err(|kind| self.explain(&kind, key, &format!("[{table}]")))
    }

    /// Determines the required keys of an element of an array of tables.
    pub(super) fn element(&self, array: &str, written: &Dict) -> Element {
        let variants = match smallest(array, None) {
            Ok(smallest) => return Element { smallest, tag_mistake: None },
            Err(Kind::UnknownVariant(_, variants)) => variants,
            Err(_) => &[],
        };
        let tag = written.get(TAG).map(|tag| tag.as_str().map_or_else(|| show(tag), str::to_owned));
        let tag_mistake = match &tag {
            Some(tag) if variants.contains(&tag.as_str()) => None,
            Some(tag) => {
                Some(format!("{TAG} = {tag:?} of [[{array}]] is not known{}", suggestion(tag, variants)))
            }
            None => Some(format!("[[{array}]] lacks {TAG:?}{}", suggestion("", variants))),
        };
        let fitting = variants
            .iter()
            .filter(|variant| tag_mistake.is_some() || tag.as_deref() == Some(variant))
            .filter_map(|variant| smallest(array, Some(variant)).ok())
            .max_by_key(|smallest| {
                let known = |key: &String| self.accepts_in(array, smallest, key, Value::from("")).is_known();
                written.keys().filter(|key| known(key)).count()
            });
        Element { smallest: fitting.unwrap_or_default(), tag_mistake }
    }

    /// Tries one key of an element of an array of tables.
    pub(super) fn accepts_in(&self, array: &str, smallest: &Dict, key: &str, value: Value) -> KeyTrial {
        let mut element = smallest.clone();
        element.insert(key.to_owned(), value);
        let tried = Dict::from([(array.to_owned(), Value::from(vec![Value::from(element)]))]);
        match probe(tried) {
            Ok(()) => KeyTrial::Accepted,
            Err(kind @ Kind::UnknownField(..)) => {
                KeyTrial::Unknown(self.explain(&kind, key, &format!("[[{array}]]")))
            }
            Err(kind) => KeyTrial::Refused(self.explain(&kind, key, &format!("[[{array}]]"))),
        }
    }

    fn explain(&self, kind: &Kind, key: &str, table: &str) -> String {
        match kind {
            Kind::UnknownField(_, there_are) => {
                let elsewhere = self.keys().find(|(_, other)| *other == key).map(|(table, _)| table);
                let hint = match elsewhere {
                    _ if nearest(key, there_are.iter().copied()).is_some() => suggestion(key, there_are),
                    Some(other) => format!("; it belongs into [{other}]"),
                    None if table == "[[plugin]]" => {
                        format!(
                            "{}; what the plugin itself reads stands in [plugin.config]",
                            suggestion(key, there_are)
                        )
                    }
                    None => suggestion(key, there_are),
                };
                format!("unknown key {key:?} in {table}{hint}")
            }
            Kind::UnknownVariant(written, there_are) => {
                format!("{key} = {written:?} of {table} is not known{}", suggestion(written, there_are))
            }
            Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
                format!("{key} of {table} is {}; it must be {}", describe(actual), wanted(expected))
            }
            Kind::Message(text) => format!("{key} of {table}: {text}"),
            other => format!("{key} of {table}: {other}"),
        }
    }
}

/// The result of trying a key in an element.
pub(super) enum KeyTrial {
    Accepted,
    Unknown(String),
    Refused(String),
}

impl KeyTrial {
    fn is_known(&self) -> bool {
        !matches!(self, KeyTrial::Unknown(_))
    }
}

/// Starts with an empty element and adds each field that serde reports as missing, until serde accepts it.
fn smallest(array: &str, tag: Option<&str>) -> Result<Dict, Kind> {
    let mut element = Dict::new();
    if let Some(tag) = tag {
        element.insert(TAG.to_owned(), Value::from(tag));
    }
    loop {
        let tried = Dict::from([(array.to_owned(), Value::from(vec![Value::from(element.clone())]))]);
        match probe(tried) {
            Ok(()) => return Ok(element),
            Err(Kind::MissingField(field)) if !element.contains_key(field.as_ref()) => {
                element.insert(field.into_owned(), Value::from(""));
            }
            Err(kind) => return Err(kind),
        }
    }
}

/// Tries these values with everything else at its default.
fn probe(tried: Dict) -> Result<(), Kind> {
    Figment::from(Serialized::defaults(Config::default()))
        .merge(Serialized::defaults(tried))
        .extract::<Config>()
        .map(|_| ())
        .map_err(|error| error.kind)
}

fn describe(actual: &Actual) -> String {
    match actual {
        Actual::Bool(truth) => truth.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Str(text) => format!("the text {text:?}"),
        Actual::Seq => "a list".into(),
        Actual::Map => "a table".into(),
        other => other.to_string(),
    }
}

/// An expected type, from serde's words into the operator's.
fn wanted(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more, that is not too large".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list, as in [\"…\"]".into(),
        "a map" => "a table".into(),
        "a string" | "path string" => "a text in quotes".into(),
        other if other.starts_with("enum ") => "one of the words that the manual lists, in quotes".into(),
        other => other.into(),
    }
}

fn show(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
