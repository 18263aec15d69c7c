//! Rules as `[plugin.config]` has them.

use std::collections::BTreeSet;

use hark_sdk::event::{Severity, is_token};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::window::{Duration, Window};

/// `[plugin.config]` of `keyword_alert`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rules, at least one, each of its own name.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One rule. `roles`, `window` and `emotion` choose the segments over which the other keys are judged.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// `rule` of its alerts, `[a-z0-9_-]+`.
    pub name: String,
    /// Words and phrases, one of which (or of `regex`) must be said. Whole words; in scripts without spaces any place.
    pub any: Vec<String>,
    /// Regular expressions over the text as it is written, alternatives to `any`. They ignore case unless `fold` is false or they contain
    /// `(?-i)`.
    pub regex: Vec<String>,
    /// Words and phrases that must all be said.
    pub all: Vec<String>,
    /// Words that must be said close to each other.
    pub near: Near,
    /// Words and phrases none of which may be said.
    pub not: Vec<String>,
    /// Words and phrases; the rule is judged at the end of the call, over all of it, and holds if none of them was said.
    pub missing: Vec<String>,
    /// Roles of the channels; empty: every channel, with a role or without.
    pub roles: Vec<String>,
    /// The part of the recording: `"first 30s"`, `"last 30s"`, `"first 10%"`, `"last 20%"`, `"1m..3m"`; empty: all of it.
    pub window: Window,
    /// The segment's emotion is one of these; empty: any, known or not.
    pub emotion: Vec<String>,
    /// Over what `any`, `regex`, `all`, `near` and `not` are judged.
    pub scope: Scope,
    /// Severity of the alerts.
    pub severity: Severity,
    /// For so long before and after an alert there is no other one of this rule in the same job.
    pub cooldown: Duration,
    /// At most one alert a job.
    pub once: bool,
    /// Case, width, kana and diacritics make no difference; false: as written.
    pub fold: bool,
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            name: String::new(),
            any: Vec::new(),
            regex: Vec::new(),
            all: Vec::new(),
            near: Near::default(),
            not: Vec::new(),
            missing: Vec::new(),
            roles: Vec::new(),
            window: Window::All,
            emotion: Vec::new(),
            scope: Scope::Segment,
            severity: Severity::Warning,
            cooldown: Duration::default(),
            once: false,
            fold: true,
        }
    }
}

/// Words that must be said close to each other.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Near {
    /// All of these, in any order; empty: the rule has no such condition.
    pub words: Vec<String>,
    /// From the first of them to the last are so many words at most, both counted. In scripts without spaces a character is a word.
    pub within: usize,
}

impl Default for Near {
    fn default() -> Self {
        Near { words: Vec::new(), within: 8 }
    }
}

/// Over what a rule is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each segment; one alert a segment.
    #[default]
    Segment,
    /// All segments of the call together; one alert a call.
    Call,
}

impl Scope {
    /// The scope of a rule: `missing` can only be judged over the call.
    pub fn of(rule: &Rule) -> Scope {
        if rule.missing.is_empty() { rule.scope } else { Scope::Call }
    }
}

/// A mistake in a config, or a warning about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {text}")]
pub struct Mistake {
    /// The key below `[plugin.config]`, lists counted from 0: `rules.2.regex.0`.
    pub path: String,
    /// What is wrong, with the rule's name, and what to do.
    pub text: String,
}

impl Config {
    /// Reads `[plugin.config]` as the daemon passes it.
    ///
    /// # Errors
    /// The first mistake: an unknown key, a value of another type, a name that cannot be one or is there twice, no rules.
    pub fn parse(json: &str) -> Result<Config, Mistake> {
        let value: Value = serde_json::from_str(json).map_err(|error| Mistake {
            path: "[plugin.config]".to_owned(),
            text: format!("not JSON: {error}"),
        })?;
        let config: Config = parse_value(value)?;
        if config.rules.is_empty() {
            let text = "is missing or empty; add a [[plugin.config.rules]] with a name and words to look for";
            return Err(Mistake { path: "rules".to_owned(), text: text.to_owned() });
        }
        let mut names = BTreeSet::new();
        for (index, Rule { name, .. }) in config.rules.iter().enumerate() {
            let problem = if !is_token(name) {
                format!("{name:?} cannot name a rule; use lower-case letters, digits, _ and -")
            } else if !names.insert(name) {
                format!("rule {name:?} is there twice; give each rule its own name")
            } else {
                continue;
            };
            return Err(Mistake { path: format!("rules.{index}.name"), text: problem });
        }
        Ok(config)
    }
}

/// Reads a part of a config, strictly: a key with a typing error would otherwise have no effect, without notice.
///
/// # Errors
/// The first key that is unknown or whose value has another type.
pub fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, Mistake> {
    serde_path_to_error::deserialize(&value).map_err(|error| {
        let path = error.path().to_string().replace('[', ".").replace(']', "");
        let name = path.strip_prefix("rules.").and_then(|rest| {
            let index: usize = rest.split('.').next()?.parse().ok()?;
            value.get("rules")?.get(index)?.get("name")?.as_str()
        });
        let name = name.map(|name| format!("rule {name:?}: ")).unwrap_or_default();
        Mistake { path, text: format!("{name}{}", error.inner()) }
    })
}
