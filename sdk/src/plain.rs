//! Untrusted JSON as a tree that can be stored: any JSON parser can read it again once it is written.

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// Deepest nesting. Parsers refuse 128 levels, and the event around the value has some levels of its own. An event that the daemon itself
/// cannot read again would never be published.
pub const DEEPEST: usize = 64;

/// Prefix of the field names by which `serde_json` marks its own types. When a [`Value`] is deserialized, the text in such a field is
/// parsed as JSON too, without any limit of depth.
const RESERVED: &str = "$serde_json::private::";

/// A JSON value of at most [`DEEPEST`] levels, without the field names that `serde_json` treats specially.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain(pub Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Levels(DEEPEST).deserialize(deserializer).map(Plain)
    }
}

/// Deserializes a value of at most this many levels.
#[derive(Clone, Copy)]
struct Levels(usize);

impl Levels {
    fn below<E: de::Error>(self) -> Result<Levels, E> {
        let below = self.0.checked_sub(1);
        below.map(Levels).ok_or_else(|| E::custom(format_args!("nested deeper than {DEEPEST} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Levels {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Levels {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.starts_with(RESERVED) {
                return Err(de::Error::custom("a field name that serde_json reserves"));
            }
            fields.insert(name, map.next_value_seed(below)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_is_read_as_it_is() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"\"\\é👋",{}],"b":{"c":[]}}"#;
        let Plain(value) = serde_json::from_str(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_is_nested_too_deep_to_be_read_again_is_refused() {
        let nested = |levels: usize| format!("{}\"[\\\"{{\"{}", "[".repeat(levels), "]".repeat(levels));
        assert!(serde_json::from_str::<Plain>(&nested(DEEPEST)).is_ok());
        for levels in [DEEPEST + 1, 127, 100_000] {
            assert!(serde_json::from_str::<Plain>(&nested(levels)).is_err(), "{levels}");
        }
    }

    #[test]
    fn a_text_is_not_taken_for_json_whatever_it_is_called() {
        for name in ["$serde_json::private::RawValue", r"\u0024serde_json::private::Number"] {
            let text = format!(r#"[{{"{name}": "{}"}}]"#, "[".repeat(100));
            assert!(serde_json::from_str::<Plain>(&text).is_err(), "{name}");
        }
    }
}
