//! A hot word of a route: `"Hark"`, or `{ word = "Hark", weight = 5 }`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A word or a short phrase that recognition is biased to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hotword {
    pub word: String,
    /// 1 to 5, or [`Hotword::SUPER`].
    pub weight: u32,
}

impl Hotword {
    /// The weight of a word without one: strong, and below the strongest.
    pub const USUAL: u32 = 4;
    /// The weight above all others; the service takes at most [`Hotword::MOST_SUPER`] words of it.
    pub const SUPER: u32 = 50;
    pub const MOST_SUPER: usize = 50;
    /// The longest word with a character of Chinese, Japanese or Korean, in characters.
    const LONGEST_CJK: usize = 15;
    /// The longest other phrase, in words.
    const LONGEST_PHRASE: usize = 7;

    /// A word of the usual weight.
    pub fn new(word: &str) -> Hotword {
        Hotword { word: word.to_owned(), weight: Hotword::USUAL }
    }

    /// Whether the service takes it as a hot word (the provider's documentation).
    pub fn is_short(&self) -> bool {
        match self.word.chars().any(is_cjk) {
            true => self.word.chars().count() <= Hotword::LONGEST_CJK,
            false => self.word.split_whitespace().count() <= Hotword::LONGEST_PHRASE,
        }
    }
}

/// Whether a character is Han or kana, which are written without spaces between words.
pub fn is_han_or_kana(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Han, kana, hangul.
fn is_cjk(character: char) -> bool {
    is_han_or_kana(character) || matches!(character, '\u{ac00}'..='\u{d7af}')
}

impl<'de> Deserialize<'de> for Hotword {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Hotword {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Hotword".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<Table>()] })
    }
}

/// A word with its weight, as the file has it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    word: String,
    /// 1 to 5, or 50.
    #[serde(default = "usual")]
    weight: u32,
}

/// Reads either form.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Hotword;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of words, as in [\"Hark\", { word = \"Ada Lovelace\", weight = 5 }]")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Hotword, E> {
        Ok(Hotword::new(word))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Hotword, A::Error> {
        let Table { word, weight } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Hotword { word, weight })
    }
}

fn usual() -> u32 {
    Hotword::USUAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_have_a_weight() {
        #[derive(Deserialize)]
        struct Keys {
            hotwords: Vec<Hotword>,
        }
        let keys: Keys =
            toml::from_str("hotwords = [\"Hark\", { word = \"Ada\", weight = 5 }, { word = \"b\" }]")
                .unwrap();
        let weights: Vec<_> = keys.hotwords.iter().map(|word| (&*word.word, word.weight)).collect();
        assert_eq!(weights, [("Hark", 4), ("Ada", 5), ("b", 4)]);
        assert!(toml::from_str::<Keys>("hotwords = [{ word = \"a\", wieght = 5 }]").is_err());
    }

    #[test]
    fn the_services_limits_of_length_hold_by_script() {
        let is_short = |word: &str| Hotword::new(word).is_short();
        assert!(is_short("one two three four five six seven"));
        assert!(!is_short("one two three four five six seven eight"));
        assert!(is_short(&"好".repeat(15)));
        assert!(!is_short(&"好".repeat(16)));
        assert!(!is_short("가나다라마바사아자차카타파하거너"));
    }
}
