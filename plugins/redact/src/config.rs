//! `[plugin.config]` of the plugin.

use hark_rules::{Mistake, parse_value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The plugin's config.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is taken out; `card`, `phone`, `email` and `iban` unless set.
    pub find: Vec<Find>,
    /// Words and phrases that are taken out: whole words, in scripts without spaces any place. Case, width, kana and diacritics
    /// make no difference.
    pub words: Vec<String>,
    /// Regular expressions whose matches are taken out. They ignore case unless they contain `(?-i)`; `^` and `$` are the borders of a segment.
    pub patterns: Vec<String>,
    /// Whether words that only fill a pause ("um", 嗯, えっと) are left out.
    pub fillers: bool,
    /// What stands in the place of a value.
    pub replace: Replace,
}

/// A finder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Find {
    /// Numbers of 13 digits and more.
    Card,
    /// Phone numbers, international and national.
    Phone,
    /// E-mail addresses, written and spoken.
    Email,
    /// International bank account numbers.
    Iban,
    /// Every run of four digits and more.
    Digits,
}

/// What stands in the place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Replace {
    /// `[CARD_1]`: the same value has the same number within a call.
    Token,
    /// `****`.
    Mask,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            find: vec![Find::Card, Find::Phone, Find::Email, Find::Iban],
            words: Vec::new(),
            patterns: Vec::new(),
            fillers: false,
            replace: Replace::Token,
        }
    }
}

impl Config {
    /// Reads `[plugin.config]` as the daemon passes it.
    ///
    /// # Errors
    /// The first mistake: an unknown key, a value of another type, or nothing to take out.
    pub fn parse(json: &str) -> Result<Config, Mistake> {
        let mistake = |path: &str, text: String| Mistake { path: path.to_owned(), text };
        let value: Value = serde_json::from_str(json)
            .map_err(|error| mistake("[plugin.config]", format!("not JSON: {error}")))?;
        let config: Config = parse_value(value)?;
        if config.find.is_empty() && config.words.is_empty() && config.patterns.is_empty() && !config.fillers
        {
            let text = "is empty, and nothing else is to be taken out; name a finder, `words` or `patterns`";
            return Err(mistake("find", text.to_owned()));
        }
        Ok(config)
    }

    /// Whether a finder is on.
    pub fn finds(&self, find: Find) -> bool {
        self.find.contains(&find)
    }
}
