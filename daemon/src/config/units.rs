//! `"30s"` and `"10MiB"`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};

/// Reads `"250ms"`, `"2s"`, `"5m"`, `"12h"`, `"30d"`: one whole number and one unit.
///
/// # Errors
/// A sentence that shows the forms.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!(
                "{text:?} is not a duration; write it as \"250ms\", \"2s\", \"5m\", \"12h\" or \"30d\""
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; it begins with a whole number, as in \"2s\""))?;
    number
        .checked_mul(millis_per_unit)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is too long a duration"))
}

/// Reads `"512KiB"`, `"10MiB"`, `"1GiB"`, `"2TiB"`, `"900B"`.
///
/// # Errors
/// A sentence that shows the forms.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => {
            return Err(format!(
                "{text:?} is not a size; write it as \"900B\", \"512KiB\", \"10MiB\", \"1GiB\" or \"2TiB\""
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a size; it begins with a whole number, as in \"10MiB\""))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large a size"))
}

/// The duration in the largest unit in which it is a whole number.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, per) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis != 0 && millis.is_multiple_of(per) {
            return format!("{}{unit}", millis / per);
        }
    }
    format!("{millis}ms")
}

/// The size in the largest unit in which it is a whole number.
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (&text[..digits], text[digits..].trim_start())
}

/// Accepts a string; for any other type the error names the expected form, so that `timeout = 2` is answered by `"2s"`.
struct Written(&'static str);

impl Visitor<'_> for Written {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::show_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = deserializer.deserialize_str(super::Written("a duration in quotes, as in \"2s\""))?;
        super::parse_duration(&text).map_err(D::Error::custom)
    }
}

pub(super) mod auto_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            None => serializer.serialize_str("auto"),
            Some(duration) => serializer.serialize_str(&super::show_duration(*duration)),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let wanted = "a duration in quotes, as in \"30s\", or \"auto\"";
        let text = deserializer.deserialize_str(super::Written(wanted))?;
        if text == "auto" {
            return Ok(None);
        }
        super::parse_duration(&text).map(Some).map_err(D::Error::custom)
    }
}

pub(super) mod size {
    use serde::{Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::show_size(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        let text = deserializer.deserialize_str(super::Written("a size in quotes, as in \"10MiB\""))?;
        super::parse_size(&text).map_err(D::Error::custom)
    }
}
