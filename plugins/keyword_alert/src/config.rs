//! Reads `[plugin.config]` strictly: otherwise a rule with a typing error would never fire, without notice.

use std::collections::BTreeSet;

use hark_sdk::event::{Severity, is_token};
use serde_json::{Map, Value};

use crate::default_severity;

/// The plugin's config.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// At least one.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// `rule` of its alerts; `[a-z0-9_-]+`, unique.
    pub name: String,
    /// Words and phrases; the rule fires on any of them.
    pub any: Vec<String>,
    /// Regular expressions; the rule fires on any of them. They ignore case unless they contain `(?-i)`.
    pub regex: Vec<String>,
    /// Severity of its alerts.
    pub severity: Severity,
    /// Roles whose segments are searched; empty: all segments.
    pub roles: Vec<String>,
}

/// Why a config is invalid; names the rule and the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Not a JSON object; the daemon always passes one.
    #[error("the config is no JSON object: {0}")]
    NoObject(String),
    /// No rules.
    #[error(
        "key \"rules\" is missing or empty; add a [[plugin.config.rules]] with a name and `any` or `regex`"
    )]
    NoRules,
    /// An unknown key.
    #[error("{place}: unknown key {key:?}; known are {known}")]
    UnknownKey {
        /// The rule, or the config.
        place: String,
        /// As it was written.
        key: String,
        /// All known keys.
        known: String,
    },
    /// A value of another type, or an empty one.
    #[error("{place}: key {key:?} must be {needed}")]
    Value {
        /// The rule.
        place: String,
        /// Its key.
        key: &'static str,
        /// What it must be.
        needed: &'static str,
    },
    /// Two rules of the same name: their alerts could not be distinguished.
    #[error("rule {0:?} is there twice; give each its own name")]
    Twice(String),
    /// A rule that can never fire.
    #[error("rule {0:?}: it has neither \"any\" nor \"regex\"; give it something to look for")]
    Empty(String),
    /// An invalid regular expression.
    #[error("rule {rule:?}: key \"regex\": {pattern:?}: {error}")]
    Regex {
        /// The rule.
        rule: String,
        /// As it was written.
        pattern: String,
        /// What is wrong, in one line.
        error: String,
    },
}

const RULE_KEYS: [&str; 5] = ["name", "any", "regex", "severity", "roles"];
const NAME: &str = "a name of lower-case letters, digits, _ and -";
const TEXTS: &str = "a list of texts that are not empty";

impl Config {
    /// Parses `[plugin.config]` as the daemon passes it.
    ///
    /// # Errors
    /// The first [`Mistake`] found.
    pub fn parse(json: &str) -> Result<Config, Mistake> {
        let config: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| Mistake::NoObject(error.to_string()))?;
        known_keys("[plugin.config]", &config, &["rules"])?;
        let rules = match config.get("rules") {
            Some(Value::Array(rules)) if !rules.is_empty() => rules,
            None | Some(Value::Array(_)) => return Err(Mistake::NoRules),
            Some(_) => {
                let needed = "a list of tables: [[plugin.config.rules]]";
                return Err(Mistake::Value { place: "[plugin.config]".into(), key: "rules", needed });
            }
        };
        let rules: Vec<Rule> = rules
            .iter()
            .enumerate()
            .map(|(index, rule)| Rule::read(index, rule))
            .collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        match rules.iter().find(|rule| !names.insert(&rule.name)) {
            Some(twice) => Err(Mistake::Twice(twice.name.clone())),
            None => Ok(Config { rules }),
        }
    }
}

impl Rule {
    /// Whether segments of this role are searched. A segment without a role matches only a rule without `roles`.
    pub fn is_for(&self, role: Option<&str>) -> bool {
        self.roles.is_empty() || role.is_some_and(|role| self.roles.iter().any(|wanted| wanted == role))
    }

    fn read(index: usize, rule: &Value) -> Result<Rule, Mistake> {
        let named = rule.get("name").and_then(Value::as_str).map(|name| format!("rule {name:?}"));
        let place = named.unwrap_or_else(|| format!("rule {} of [[plugin.config.rules]]", index + 1));
        let bad = |key, needed| Mistake::Value { place: place.clone(), key, needed };
        let Value::Object(fields) = rule else {
            return Err(bad("rules", "a list of tables: [[plugin.config.rules]]"));
        };
        known_keys(&place, fields, &RULE_KEYS)?;
        let texts = |key| texts(fields.get(key)).ok_or_else(|| bad(key, TEXTS));
        let name = fields.get("name").and_then(Value::as_str).filter(|name| is_token(name));
        let rule = Rule {
            name: name.ok_or_else(|| bad("name", NAME))?.to_owned(),
            any: texts("any")?,
            regex: texts("regex")?,
            severity: match fields.get("severity").map(|severity| severity.as_str().unwrap_or_default()) {
                None => default_severity(),
                Some("info") => Severity::Info,
                Some("warning") => Severity::Warning,
                Some("critical") => Severity::Critical,
                Some(_) => return Err(bad("severity", "\"info\", \"warning\" or \"critical\"")),
            },
            roles: texts("roles")?,
        };
        if rule.any.is_empty() && rule.regex.is_empty() {
            return Err(Mistake::Empty(rule.name));
        }
        Ok(rule)
    }
}

fn known_keys(place: &str, fields: &Map<String, Value>, known: &[&str]) -> Result<(), Mistake> {
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => {
            Err(Mistake::UnknownKey { place: place.to_owned(), key: key.clone(), known: known.join(", ") })
        }
        None => Ok(()),
    }
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let Some(value) = value else { return Some(Vec::new()) };
    let text = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    value.as_array()?.iter().map(text).collect()
}
