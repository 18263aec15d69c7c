//! Texts of the config that name metadata of the recording: `{agent}`.

use serde_json::{Map, Value};

/// A text with places for metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Key(String),
}

impl Template {
    /// Parses a text: `{key}` names a field of the metadata, `{{` and `}}` are braces.
    ///
    /// # Errors
    /// A sentence about a brace that belongs to no key.
    pub fn parse(text: &str) -> Result<Template, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            rest = if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                after
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                after
            } else {
                let key = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
                let Some((key, after)) = key.filter(|(key, _)| is_key(key)) else {
                    return Err(format!(
                        "{:?} is no field of the metadata; write {{agent}} for the field \"agent\", and {{{{ and }}}} for braces",
                        brace.chars().take(20).collect::<String>()
                    ));
                };
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Key(key.to_owned()));
                after
            };
        }
        parts.push(Part::Text(plain + rest));
        Ok(Template(parts))
    }

    /// The text with the metadata in it. A field that is missing, or is no text, number or truth value, is empty.
    pub fn fill(&self, metadata: &Map<String, Value>) -> String {
        let filled = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Key(key) => match metadata.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                _ => String::new(),
            },
        });
        filled.collect()
    }
}

fn is_key(key: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !key.is_empty() && key.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_stands_where_its_key_is_named() {
        let Value::Object(metadata) =
            json!({"agent": "Bob {x}", "n": 7, "vip": true, "tags": ["a"], "a.b-c": "k", "none": null})
        else {
            unreachable!()
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("{agent}", "Bob {x}"),
            ("to {agent}, {n}{vip}!", "to Bob {x}, 7true!"),
            ("<{missing}{tags}{none}>", "<>"),
            ("{a.b-c}", "k"),
            ("{{agent}} {{}} }}", "{agent} {} }"),
        ] {
            assert_eq!(Template::parse(text).unwrap().fill(&metadata), expected, "{text}");
        }
        for text in ["{", "}", "a {agent", "{two words}", "{}", "{\"json\": 1}", "{{agent}"] {
            assert!(Template::parse(text).unwrap_err().contains("write {agent}"), "{text}");
        }
    }
}
