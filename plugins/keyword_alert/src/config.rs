//! `[plugin.config]`, read strictly: a rule that never fires because of a slip of the pen is the worst of all rules.

use std::collections::BTreeSet;

use hark_sdk::event::{Severity, is_token};
use serde_json::{Map, Value};

use crate::default_severity;

/// What the operator may say.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// At least one.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// `rule` of its alerts; `[a-z0-9_-]+`, once.
    pub name: String,
    /// Words and phrases, any of which is enough.
    pub any: Vec<String>,
    /// Regular expressions, any of which is enough; case does not count unless they say `(?-i)`.
    pub regex: Vec<String>,
    /// Of its alerts.
    pub severity: Severity,
    /// Whose words are looked at; empty: everybody's.
    pub roles: Vec<String>,
}

/// Why a config cannot mean anything; names the rule and the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Not even JSON; the daemon always hands over an object.
    #[error("the config is no JSON object: {0}")]
    NoObject(String),
    /// Nothing to look for.
    #[error(
        "key \"rules\" is missing or empty; add a [[plugin.config.rules]] with a name and `any` or `regex`"
    )]
    NoRules,
    /// A key that is none.
    #[error("{place}: unknown key {key:?}; known are {known}")]
    UnknownKey {
        /// The rule, or the config.
        place: String,
        /// As it was written.
        key: String,
        /// All that there are.
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
    /// Two of the same name: their alerts could not be told apart.
    #[error("rule {0:?} is there twice; give each its own name")]
    Twice(String),
    /// A rule that can never fire.
    #[error("rule {0:?}: it has neither \"any\" nor \"regex\"; give it something to look for")]
    Empty(String),
    /// A regular expression that is none.
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
    /// Reads `[plugin.config]` as the daemon hands it over.
    ///
    /// # Errors
    /// See [`Mistake`]; the first one.
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
    /// Whether words of this role are looked at. A channel without a role is nobody's.
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
