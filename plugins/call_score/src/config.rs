//! `[plugin.config]` of the plugin.

use std::collections::BTreeSet;

use hark_rules::{Duration, Rule};
use hark_sdk::Error;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin's config.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The least score, of 100, with which a call passes.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub pass: f64,
    /// The checks, at least one, each of its own name.
    pub checks: Vec<Check>,
}

/// A check: its name, what it counts, and one thing that is looked at.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// What the sheet calls it.
    pub name: String,
    /// What it counts, against the sum of all weights that could be measured.
    pub weight: Option<f64>,
    /// Whether the score is 0 if it fails.
    pub fatal: bool,
    /// It passes if this rule, as of `keyword_alert`, matches in the call. It has no name of its own.
    pub rule: Option<Rule>,
    /// It passes if a role speaks no more than this share of all speech.
    pub talk_ratio: Option<AtMost>,
    /// It passes if no silence is longer.
    pub longest_silence: Option<Duration>,
    /// It passes if a role interrupts others no more often.
    pub interruptions: Option<AtMost>,
    /// It passes if a role speaks no faster, in words a minute of its speech.
    pub words_per_minute: Option<AtMost>,
}

/// A figure of a role, and its limit.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AtMost {
    /// The role, as the route names it.
    pub role: String,
    /// The limit; the figure may be as great.
    pub at_most: f64,
}

/// What a check looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look<'a> {
    Rule(&'a Rule),
    TalkRatio(&'a AtMost),
    LongestSilence(Duration),
    Interruptions(&'a AtMost),
    WordsPerMinute(&'a AtMost),
}

impl Default for Config {
    fn default() -> Self {
        Config { pass: 80.0, checks: Vec::new() }
    }
}

impl Check {
    /// Everything that it looks at; one thing in a valid check.
    pub(crate) fn looks(&self) -> Vec<Look<'_>> {
        let mut looks = Vec::new();
        looks.extend(self.rule.as_ref().map(Look::Rule));
        looks.extend(self.talk_ratio.as_ref().map(Look::TalkRatio));
        looks.extend(self.longest_silence.map(Look::LongestSilence));
        looks.extend(self.interruptions.as_ref().map(Look::Interruptions));
        looks.extend(self.words_per_minute.as_ref().map(Look::WordsPerMinute));
        looks
    }
}

impl Config {
    /// Reads `[plugin.config]` as the daemon passes it.
    ///
    /// # Errors
    /// The mistakes, at most one of each check; each begins with its key.
    pub fn parse(json: &str) -> Result<Config, Error> {
        let config: Config = hark_sdk::config::read(json)?;
        let mut mistakes = Vec::new();
        let mut mistake = |key: &str, text: &str| mistakes.push(format!("{key}: {text}"));
        if !(0.0..=100.0).contains(&config.pass) {
            mistake("pass", "must be a score, 0 to 100");
        }
        let mut names = BTreeSet::new();
        for (index, check) in config.checks.iter().enumerate() {
            let (at, is_new) = (format!("checks.{index}"), names.insert(&check.name));
            if let Some((key, text)) = check.mistake() {
                mistake(&format!("{at}{key}"), &format!("check {:?} {text}", check.name));
            } else if !is_new {
                let text = format!("check {:?} is there twice; give each check its own name", check.name);
                mistake(&format!("{at}.name"), &text);
            }
        }
        if config.checks.is_empty() {
            let text = "is missing or empty; add a [[plugin.config.checks]] with a name, a weight and a thing to look at";
            mistake("checks", text);
        } else if config.checks.iter().all(|check| check.weight == Some(0.0)) {
            mistake("checks", "all have the weight 0; a score needs one that counts");
        }
        if mistakes.is_empty() { Ok(config) } else { Err(Error::mistakes(mistakes)) }
    }

    /// What can hardly be meant.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let checks = self.checks.iter().enumerate();
        checks.filter(|(_, check)| check.weight == Some(0.0) && !check.fatal).map(|(index, check)| {
            format!(
                "checks.{index}.weight: check {:?} counts nothing and is not fatal: it changes no score",
                check.name
            )
        })
    }
}

impl Check {
    /// The first mistake: its key below the check, and what is wrong.
    fn mistake(&self) -> Option<(&'static str, &'static str)> {
        if self.name.trim().is_empty() {
            return Some((".name", "needs a name"));
        }
        match self.weight {
            None => return Some((".weight", "is missing; say what the check counts")),
            Some(weight) if weight < 0.0 => {
                return Some((".weight", "must count 0 or more"));
            }
            Some(_) => {}
        }
        const ONE: &str = "needs one of rule, talk_ratio, longest_silence, interruptions, words_per_minute";
        let &[look] = &self.looks()[..] else { return Some(("", ONE)) };
        match look {
            Look::Rule(rule) if !rule.name.is_empty() => {
                Some((".rule.name", "gives the name already; remove this one"))
            }
            Look::TalkRatio(AtMost { at_most, .. }) if !(0.0..=1.0).contains(at_most) => {
                Some((".talk_ratio.at_most", "must be a share, 0 to 1"))
            }
            Look::Interruptions(AtMost { at_most, .. }) if *at_most < 0.0 => {
                Some((".interruptions.at_most", "must be 0 or more"))
            }
            Look::WordsPerMinute(AtMost { at_most, .. }) if *at_most <= 0.0 => {
                Some((".words_per_minute.at_most", "must be more than 0"))
            }
            _ => None,
        }
    }
}
