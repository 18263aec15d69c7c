//! Finds rules that are valid and yet can hardly be meant: they can never match, or match everything.

use std::collections::BTreeSet;

use crate::config::{Mistake, Rule};
use crate::fold::{Folding, Words};
use crate::patterns;
use crate::rules::Rules;

impl Rules {
    /// What of the rules has no effect, or has it everywhere.
    pub fn warnings(&self) -> Vec<Mistake> {
        let rules = self.list().iter().enumerate();
        rules
            .flat_map(|(index, rule)| {
                let found = of_rule(rule).into_iter();
                found.map(move |(key, text)| Mistake {
                    path: if key.is_empty() {
                        format!("rules.{index}")
                    } else {
                        format!("rules.{index}.{key}")
                    },
                    text: format!("rule {:?} {text}", rule.name),
                })
            })
            .collect()
    }
}

/// What is wrong with a rule, by key.
fn of_rule(rule: &Rule) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut warn = |key: String, text: String| found.push((key, text));
    let form = if rule.fold { Folding::Folded } else { Folding::Written };
    let words = |phrases: &[String]| -> Vec<Words> {
        phrases.iter().map(|phrase| Words::new(phrase, form)).collect()
    };
    let lists = [
        ("any", &rule.any),
        ("all", &rule.all),
        ("near.words", &rule.near.words),
        ("not", &rule.not),
        ("missing", &rule.missing),
    ];
    if rule.any.is_empty()
        && rule.regex.is_empty()
        && rule.all.is_empty()
        && rule.near.words.is_empty()
        && rule.missing.is_empty()
    {
        warn(
            String::new(),
            "never matches: give it words in `any`, `regex`, `all`, `near` or `missing`".to_owned(),
        );
    }
    for (key, phrases) in lists {
        for (place, phrase) in phrases.iter().enumerate() {
            if Words::new(phrase, form).is_empty() {
                warn(
                    format!("{key}.{place}"),
                    format!("has {phrase:?}, which has no word in it and is never found; remove it"),
                );
            }
        }
    }
    for (place, pattern) in rule.regex.iter().enumerate() {
        let Ok(hir) = patterns::parse(pattern) else { continue };
        let text = match hir.properties().minimum_len() {
            None => "can match no text",
            Some(0) => "matches the empty text, so every text; only matches of a character or more count",
            Some(_) => continue,
        };
        warn(format!("regex.{place}"), format!("has {pattern:?}, which {text}; change it"));
    }
    if rule.window.is_empty() {
        warn("window".to_owned(), "never matches: no segment begins in its window".to_owned());
    }
    // Phrases may overlap; single words that differ cannot.
    let near = words(&rule.near.words);
    let longest = near.iter().map(Words::len).max().unwrap_or(0);
    let singles: BTreeSet<&str> = near.iter().filter(|words| words.len() == 1).map(Words::as_str).collect();
    let least = longest.max(singles.len());
    if rule.near.within < least {
        warn(
            "near.within".to_owned(),
            format!("never matches: {least} words cannot be within {}; raise `within`", rule.near.within),
        );
    }
    for (key, forbidden) in [("not", &rule.not), ("missing", &rule.missing)] {
        for (place, forbidden) in words(forbidden).iter().enumerate().filter(|(_, words)| !words.is_empty()) {
            let holds = |words: &Words| words.as_str().contains(forbidden.as_str());
            let is_any = rule.regex.is_empty() && !rule.any.is_empty() && words(&rule.any).iter().all(holds);
            if is_any || words(&rule.all).iter().any(holds) || near.iter().any(holds) {
                warn(
                    format!("{key}.{place}"),
                    format!(
                        "never matches: what it asks for contains {:?} of `{key}`",
                        forbidden.as_str().trim()
                    ),
                );
            }
        }
    }
    found
}
