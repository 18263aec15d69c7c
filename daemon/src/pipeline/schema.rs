//! Checks `[plugin.config]` against the JSON Schema that a plugin brings.
//!
//! The check runs in the plugin's own process: a schema that is expensive to check takes time and memory of that process only.

use jsonschema::error::{ValidationError, ValidationErrorKind};
use serde_json::Value;

use crate::config::suggestion;

/// Number of mistakes that are reported at once.
const MOST: usize = 64;

/// A schema, ready to use.
pub struct ConfigSchema {
    text: Value,
    validator: jsonschema::Validator,
}

impl ConfigSchema {
    /// Reads a schema. References may point into the schema itself; the check fetches nothing else.
    ///
    /// # Errors
    /// A sentence that says why the text is not a usable schema.
    pub fn read(text: &str) -> Result<ConfigSchema, String> {
        let text: Value =
            serde_json::from_str(text).map_err(|error| format!("its schema is not JSON: {error}"))?;
        let validator = jsonschema::options().offline().build(&text);
        let validator = validator.map_err(|error| format!("its schema is no JSON Schema: {error}"))?;
        Ok(ConfigSchema { text, validator })
    }

    /// Whether the schema has any rule.
    pub fn has_rules(&self) -> bool {
        self.text.as_object().is_some_and(|schema| !schema.is_empty())
    }

    /// The mistakes of a config. Each begins with its key; entries of lists are counted from 0: `rules.2.nam: unknown key; …`. The messages do
    /// not repeat values, since a config may hold a secret; the exception is a value where the schema expects one of some words.
    pub fn mistakes(&self, config: &Value) -> Vec<String> {
        let mut mistakes = Vec::new();
        for error in self.validator.iter_errors(config) {
            self.explain(&error, &mut mistakes);
        }
        mistakes.truncate(MOST);
        mistakes
    }

    fn explain(&self, error: &ValidationError<'_>, mistakes: &mut Vec<String>) {
        let path = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
        let inside = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let place = if path.is_empty() { "[plugin.config]" } else { &path };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known =
                    self.schema_of_keyword(error).and_then(|schema| schema.get("properties")?.as_object());
                let known: Vec<&str> = known.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                mistakes.extend(
                    unexpected
                        .iter()
                        .map(|key| format!("{}: unknown key{}", inside(key), suggestion(key, &known))),
                );
            }
            ValidationErrorKind::Required { property } => {
                mistakes.push(format!("{}: is missing", inside(property.as_str().unwrap_or_default())));
            }
            ValidationErrorKind::Enum { options } => {
                let words = options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                mistakes.push(format!("{place}: {}", no_such_word(error, words)));
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                let mut words = Vec::new();
                for error in context.iter().flatten() {
                    match error.kind() {
                        ValidationErrorKind::Constant { expected_value } => {
                            words.extend(expected_value.as_str());
                        }
                        ValidationErrorKind::Enum { options } => {
                            words.extend(options.as_array().into_iter().flatten().filter_map(Value::as_str));
                        }
                        _ => {}
                    }
                }
                // The author meant the alternative whose only errors are further inside, or are unknown or missing keys.
                let is_meant = |errors: &&Vec<ValidationError<'_>>| {
                    errors.iter().all(|inner| {
                        inner.instance_path() != error.instance_path()
                            || matches!(
                                inner.kind(),
                                ValidationErrorKind::AdditionalProperties { .. }
                                    | ValidationErrorKind::Required { .. }
                            )
                    })
                };
                let mut meant = context.iter().filter(is_meant);
                match (meant.next(), meant.next()) {
                    (Some(errors), None) => errors.iter().for_each(|error| self.explain(error, mistakes)),
                    _ if !words.is_empty() && error.instance().is_string() => {
                        mistakes.push(format!("{place}: {}", no_such_word(error, words)));
                    }
                    _ => mistakes.push(format!("{place}: {}", error.masked_with("the value"))),
                }
            }
            _ => mistakes.push(format!("{place}: {}", error.masked_with("the value"))),
        }
    }

    /// The part of the schema that contains the keyword which refused the value.
    fn schema_of_keyword(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let path = error.evaluation_path().as_str();
        let (path, _keyword) = path.rsplit_once('/')?;
        let mut schema = &self.text;
        for segment in path.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            schema = match (schema, segment.as_str()) {
                (Value::Object(keys), "$ref") => {
                    self.text.pointer(keys.get("$ref")?.as_str()?.strip_prefix('#')?)?
                }
                (Value::Object(keys), key) => keys.get(key)?,
                (Value::Array(list), index) => list.get(index.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(schema)
    }
}

fn no_such_word(error: &ValidationError<'_>, words: Vec<&str>) -> String {
    match error.instance().as_str() {
        Some(word) => format!("unknown value {word:?}{}", suggestion(word, &words)),
        None => format!("{}", error.masked_with("the value")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mistakes(schema: &Value, config: &Value) -> Vec<String> {
        ConfigSchema::read(&schema.to_string()).unwrap().mistakes(config)
    }

    #[test]
    fn a_mistake_begins_with_its_key_and_ends_with_the_remedy() {
        let schema = json!({
            "$defs": {
                "Rule": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["name"],
                    "properties": {
                        "name": { "type": "string" },
                        "within": { "type": "integer", "minimum": 0 },
                        "severity": { "oneOf": [{ "const": "info" }, { "const": "warning" }] },
                        "scope": { "enum": ["segment", "call"] },
                        "limit": { "anyOf": [{ "$ref": "#/$defs/Limit" }, { "type": "null" }] },
                    },
                },
                "Limit": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": { "seconds": { "type": "integer" } },
                },
            },
            "type": "object",
            "additionalProperties": false,
            "properties": { "rules": { "type": "array", "items": { "$ref": "#/$defs/Rule" } } },
        });
        let of_rule = |rule: Value| mistakes(&schema, &json!({ "rules": [{ "name": "a" }, rule] }));
        let of_limit = |limit: Value| of_rule(json!({ "name": "b", "limit": limit }));
        for (said, expected) in [
            (mistakes(&schema, &json!({ "rule": [] })), "rule: unknown key; did you mean \"rules\"?"),
            (mistakes(&schema, &json!({ "rules": {} })), "rules: the value is not of type \"array\""),
            (of_rule(json!({ "nam": "b", "name": "b" })), "rules.1.nam: unknown key; did you mean \"name\"?"),
            (of_rule(json!({})), "rules.1.name: is missing"),
            (
                of_rule(json!({ "name": "b", "within": "s3cret" })),
                "rules.1.within: the value is not of type \"integer\"",
            ),
            (
                of_rule(json!({ "name": "b", "within": -1 })),
                "rules.1.within: the value is less than the minimum of 0",
            ),
            (
                of_rule(json!({ "name": "b", "severity": "warn" })),
                "rules.1.severity: unknown value \"warn\"; did you mean \"warning\"?",
            ),
            (
                of_rule(json!({ "name": "b", "scope": "x" })),
                "rules.1.scope: unknown value \"x\"; there are \"segment\" and \"call\"",
            ),
            (of_rule(json!({ "name": "b", "scope": 3 })), "rules.1.scope: the value is not one of"),
            (
                of_limit(json!({ "second": 3 })),
                "rules.1.limit.second: unknown key; did you mean \"seconds\"?",
            ),
            (of_limit(json!({ "seconds": "x" })), "rules.1.limit.seconds: the value is not of type"),
            (of_limit(json!(3)), "rules.1.limit: the value is not valid under any"),
        ] {
            assert!(said.len() == 1 && said[0].starts_with(expected), "{said:?} for {expected:?}");
            assert!(!said[0].contains("s3cret"), "{said:?}");
        }
        assert_eq!(mistakes(&schema, &json!({ "rules": [{ "nam": 1 }, { "name": 1, "x": 1 }] })).len(), 4);
        assert!(mistakes(&schema, &json!({ "rules": [{ "name": "a" }] })).is_empty());
        assert_eq!(mistakes(&schema, &json!({ "rules": vec![json!({}); 1_000] })).len(), MOST);
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for (text, words) in [
            ("{", "is not JSON"),
            (r#"{"type": "text"}"#, "is no JSON Schema"),
            (r#"{"$ref": "https://example.com/schema.json"}"#, "is no JSON Schema"),
            (r##"{"$ref": "#/$defs/absent"}"##, "is no JSON Schema"),
        ] {
            let refused = ConfigSchema::read(text).err().unwrap_or_default();
            assert!(refused.contains(words), "{text}: {refused}");
        }
        assert!(!ConfigSchema::read("{}").unwrap().has_rules());
        assert!(!ConfigSchema::read("true").unwrap().has_rules());
        assert!(ConfigSchema::read(r#"{"type": "object"}"#).unwrap().has_rules());
    }
}
