//! Reads and writes durations and sizes: `"30s"`, `"10MiB"`.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `"250ms"`, `"2s"`, `"5m"`, `"12h"`, `"30d"`: one whole number and one unit.
///
/// # Errors
/// A sentence that shows the forms.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let forms = "a duration; write it as \"250ms\", \"2s\", \"5m\", \"12h\" or \"30d\"";
    parse(text, &TIMES).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is not {forms}"))
}

/// Reads `"512KiB"`, `"10MiB"`, `"1GiB"`, `"2TiB"`, `"900B"`.
///
/// # Errors
/// A sentence that shows the forms.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let forms = "a size; write it as \"900B\", \"512KiB\", \"10MiB\", \"1GiB\" or \"2TiB\"";
    parse(text, &SIZES).ok_or_else(|| format!("{text:?} is not {forms}"))
}

/// A whole number and a unit; `None` also if it is too large.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let (_, per) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*per)
}

/// The duration in the largest unit in which it is a whole number.
pub fn show_duration(duration: Duration) -> String {
    show(duration.as_millis(), &TIMES)
}

/// The size in the largest unit in which it is a whole number.
pub fn show_size(bytes: u64) -> String {
    show(bytes.into(), &SIZES)
}

fn show(amount: u128, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().find(|(_, per)| amount != 0 && amount.is_multiple_of((*per).into()));
    let (unit, per) = fitting.or(units.last()).unwrap_or(&("", 1));
    format!("{}{unit}", amount / u128::from(*per))
}

fn read<'de, D: Deserializer<'de>, T>(from: D, parse: fn(&str) -> Result<T, String>) -> Result<T, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

pub(super) mod duration {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show_duration(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        read(from, parse_duration)
    }
}

/// `None`: "auto".
pub(super) mod auto_duration {
    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&value.map_or("auto".into(), show_duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        read(from, |text| if text == "auto" { Ok(None) } else { parse_duration(text).map(Some) })
    }
}

pub(super) mod size {
    use super::*;

    pub fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show_size(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        read(from, parse_size)
    }
}

/// Declares the form of a text for the JSON Schema of the config.
macro_rules! text_of_form {
    ($name:ident, $pattern:expr, $examples:expr) => {
        #[doc = concat!("A text of the form `", $pattern, "`.")]
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": $examples })
            }
        }
    };
}

text_of_form!(DurationText, r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$", ["250ms", "2s", "5m", "12h", "30d"]);
text_of_form!(AutoDurationText, r"^(auto|\s*[0-9]+\s*(ms|s|m|h|d)\s*)$", ["auto", "30s"]);
text_of_form!(SizeText, r"^\s*[0-9]+\s*(B|KiB|MiB|GiB|TiB)\s*$", ["900B", "512KiB", "10MiB", "1GiB", "2TiB"]);
