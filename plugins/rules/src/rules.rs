//! Rules, ready to judge.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::config::{Config, Mistake, Rule, Scope};
use crate::fold::{Folding, Words};
use crate::patterns::{self, Patterns};
use crate::phrases::{Collector, Edges, Hit, Key, Phrases, Use};
use crate::unit::Unit;

/// The rules of a config, compiled: thousands of them cost an event no more than a few.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// What must be found for a rule, by rule.
    pub(crate) needs: Vec<Needs>,
    phrases: Phrases,
    patterns: Patterns,
    /// By phrase or pattern.
    pub(crate) uses: Vec<Vec<Use>>,
}

/// What a rule asks for, counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// Whether it has alternatives, `any` or `regex`, one of which must be found.
    pub(crate) any: bool,
    /// How many different phrases of `all`.
    pub(crate) all: u32,
    /// How many different phrases of `near`.
    pub(crate) near: u32,
    /// Whether it has a key without which it holds nowhere: one of the above, or `missing`.
    pub(crate) something: bool,
}

impl Rules {
    /// Reads `[plugin.config]` as the daemon passes it, and compiles its rules.
    ///
    /// # Errors
    /// The mistakes: the first one, and one of each wrong key of each rule.
    pub fn read(json: &str) -> Result<Rules, Vec<Mistake>> {
        let read = |json: &str| Config::parse(json).and_then(Rules::new);
        let first = match read(json) {
            Ok(rules) => return Ok(rules),
            Err(first) => first,
        };
        let rules = serde_json::from_str::<Value>(json).ok().and_then(|mut all| match all["rules"].take() {
            Value::Array(rules) => Some(rules),
            _ => None,
        });
        let mut mistakes = vec![first];
        for (index, mut rule) in rules.into_iter().flatten().enumerate() {
            // The next mistake shows when the key of the one before is left out.
            let mut left_out = BTreeSet::new();
            while let Err(mut mistake) = read(&json!({ "rules": [rule] }).to_string()) {
                let key = mistake.path.strip_prefix("rules.0.").and_then(|path| path.split('.').next());
                let key = key.unwrap_or_default().to_owned();
                let is_there = rule.as_object_mut().is_some_and(|rule| rule.remove(&key).is_some());
                mistake.path = mistake.path.replacen("rules.0", &format!("rules.{index}"), 1);
                if left_out.insert(key) && !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
                if !is_there {
                    break;
                }
            }
        }
        Err(mistakes)
    }

    /// Compiles the rules of a config.
    ///
    /// # Errors
    /// The first regular expression that cannot be one; or that the rules are too large together.
    pub fn new(config: Config) -> Result<Rules, Mistake> {
        let mut collector = Collector::default();
        let mut expressions = Vec::new();
        let mut needs = Vec::with_capacity(config.rules.len());
        for (index, rule) in config.rules.iter().enumerate() {
            needs.push(collect(index as u32, rule, &mut collector));
            for (number, pattern) in rule.regex.iter().enumerate() {
                let text = patterns::with_case(pattern, rule.fold);
                let read = patterns::parse(pattern).and_then(|hir| patterns::compile(&text).map(|_| hir));
                let hir = read.map_err(|why| Mistake {
                    path: format!("rules.{index}.regex.{number}"),
                    text: format!("rule {:?}: {pattern:?}: {why}", rule.name),
                })?;
                expressions.push((hir, text, collector.uses.len() as u32));
                collector.uses.push(vec![Use { rule: index as u32, key: Key::Any }]);
            }
        }
        let expressions = expressions.iter().map(|(hir, text, what)| (hir, text.clone(), *what)).collect();
        let too_large = |why: String| Mistake {
            path: "rules".to_owned(),
            text: format!("together they are too large ({why}); give them to several plugins"),
        };
        Ok(Rules {
            phrases: collector.build().map_err(|error| too_large(error.to_string()))?,
            patterns: Patterns::build(expressions).map_err(too_large)?,
            uses: collector.uses,
            rules: config.rules,
            needs,
        })
    }

    /// The rules as the config has them.
    pub fn list(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a rule looks at a segment. `length_ms`: of the recording, where it is known.
    pub(crate) fn chooses(&self, rule: u32, unit: &Unit, length_ms: Option<u64>) -> bool {
        let rule = &self.rules[rule as usize];
        let is_of_role = |role: &String| rule.roles.contains(role);
        (rule.roles.is_empty() || unit.role.as_ref().is_some_and(is_of_role))
            && (rule.emotion.is_empty() || unit.has_emotion(&rule.emotion))
            && rule.window.holds(unit.begin_ms, length_ms)
    }

    /// The rules that are judged at the end of a call, whatever was said.
    pub(crate) fn missing(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.rules).filter(|(_, rule)| !rule.missing.is_empty()).map(|(index, _)| index)
    }

    pub(crate) fn scope(&self, rule: u32) -> Scope {
        Scope::of(&self.rules[rule as usize])
    }

    /// Everything in a text that a rule asks for, in order.
    pub(crate) fn find(&self, text: &str) -> (Vec<Hit>, Edges) {
        let mut hits = Vec::new();
        let edges = self.phrases.find(text, &mut hits);
        self.patterns.find(text, &mut hits);
        hits.sort_by_key(|hit| (hit.begin, u32::MAX - hit.end));
        (hits, edges)
    }

    /// Everything that begins in one segment and ends in the next.
    pub(crate) fn find_across(&self, one: &Unit, next: &Unit) -> Vec<Hit> {
        self.phrases.find_across(&one.edges, &next.edges)
    }
}

fn collect(index: u32, rule: &Rule, collector: &mut Collector) -> Needs {
    let form = if rule.fold { Folding::Folded } else { Folding::Written };
    let mut phrase = |text: &str, key| collector.phrase(form, text, Use { rule: index, key });
    for (phrases, key) in [(&rule.any, Key::Any), (&rule.not, Key::Not), (&rule.missing, Key::Missing)] {
        phrases.iter().for_each(|text| phrase(text, key));
    }
    let (all, near) = (different(&rule.all, form), different(&rule.near.words, form));
    (0..).zip(&all).for_each(|(place, text)| phrase(text, Key::All(place)));
    (0..).zip(&near).for_each(|(place, text)| phrase(text, Key::Near(place)));
    let any = !(rule.any.is_empty() && rule.regex.is_empty());
    Needs {
        any,
        all: all.len() as u32,
        near: near.len() as u32,
        something: any || !all.is_empty() || !near.is_empty() || !rule.missing.is_empty(),
    }
}

/// The phrases that differ once they are folded. One without words stays: what needs it holds nowhere.
fn different(phrases: &[String], form: Folding) -> Vec<&String> {
    let mut known = Vec::new();
    let mut is_new = |text: &&String| {
        let words = Words::new(text, form).as_str().to_owned();
        let is_new = !known.contains(&words);
        if is_new {
            known.push(words);
        }
        is_new
    };
    phrases.iter().filter(|text| is_new(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_key_of_every_rule_is_a_mistake() {
        let rules = json!({ "rules": [
            { "name": "a", "any": ["x"], "cooldown": "soon", "window": "late", "regex": ["(", "y"] },
            { "name": "c", "any": ["x"] },
            { "any": ["x"], "severity": "loud" },
        ] });
        let mistakes = Rules::read(&rules.to_string()).err().unwrap();
        let mut paths: Vec<_> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            ["rules.0.cooldown", "rules.0.regex.0", "rules.0.window", "rules.2.name", "rules.2.severity"],
            "{mistakes:?}"
        );
    }
}
