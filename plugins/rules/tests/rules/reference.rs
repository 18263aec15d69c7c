//! The engine beside a reference that judges each rule by itself and naively.

use hark_rules::{Config, Rule, Rules, Scope, Unit, Window};
use hark_sdk::event::Segment;
use proptest::collection::vec;
use proptest::prelude::*;
use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use crate::generate::{call, rule};

/// The words of a text, one by one.
fn words(text: &str, fold: bool) -> Vec<String> {
    let normal: String = if fold {
        let kept = text.nfkd().filter(|c| !('\u{300}'..='\u{36F}').contains(c)).collect::<String>();
        let lower = kept.replace('ß', "ss").to_lowercase();
        let kana =
            |c: char| if ('ァ'..='ヶ').contains(&c) { char::from_u32(c as u32 - 0x60).unwrap() } else { c };
        lower.chars().map(kana).nfc().collect()
    } else {
        text.nfc().collect()
    };
    let mut words: Vec<String> = Vec::new();
    let mut joins = false;
    for c in normal.chars() {
        let is_alone = ('\u{3041}'..='\u{30FF}').contains(&c)
            || ('\u{4E00}'..='\u{9FFF}').contains(&c)
            || ('ｦ'..='ﾟ').contains(&c);
        if is_alone {
            words.push(c.to_string());
        } else if c.is_alphanumeric() {
            if joins { words.last_mut().unwrap().push(c) } else { words.push(c.to_string()) }
        }
        joins = c.is_alphanumeric() && !is_alone;
    }
    words
}

struct Reference<'a> {
    rule: &'a Rule,
    segments: &'a [Segment],
    chosen: Vec<bool>,
}

impl Reference<'_> {
    /// Where a phrase is said: segment, first word, one past the last word.
    fn said(&self, phrase: &str) -> Vec<(usize, usize, usize)> {
        let phrase = words(phrase, self.rule.fold);
        let mut said = Vec::new();
        for (index, segment) in self.segments.iter().enumerate().filter(|(index, _)| self.chosen[*index]) {
            let own = words(&segment.text, self.rule.fold);
            let mut text = own.clone();
            let next = (index + 1..self.segments.len()).find(|next| {
                let next = &self.segments[*next];
                next.channel == segment.channel && !words(&next.text, self.rule.fold).is_empty()
            });
            if let Some(next) = next.filter(|next| self.chosen[*next])
                && self.segments[next].begin_ms.unwrap() <= segment.end_ms.unwrap() + 30_000
            {
                text.extend(words(&self.segments[next].text, self.rule.fold));
            }
            for begin in 0..own.len() {
                if !phrase.is_empty() && text[begin..].starts_with(&phrase) {
                    said.push((index, begin, begin + phrase.len()));
                }
            }
        }
        said
    }

    fn near(&self, segment: Option<usize>) -> Vec<(usize, usize)> {
        let mut starts = Vec::new();
        let mut before = vec![0; self.segments.len()];
        if segment.is_none() {
            for (index, before) in before.iter_mut().enumerate() {
                let earlier = (0..index).filter(|other| {
                    self.chosen[*other] && self.segments[*other].channel == self.segments[index].channel
                });
                *before = earlier.map(|other| words(&self.segments[other].text, self.rule.fold).len()).sum();
            }
        }
        for channel in 0..2 {
            let mut sets: Vec<Vec<(usize, usize, usize)>> = vec![Vec::new()];
            for word in &self.rule.near.words {
                let said = self.said(word).into_iter();
                let said: Vec<_> = said
                    .filter(|one| {
                        self.segments[one.0].channel == channel
                            && segment.is_none_or(|segment| segment == one.0)
                    })
                    .collect();
                sets = sets
                    .into_iter()
                    .flat_map(|set| said.iter().map(move |one| [&set[..], &[*one]].concat()))
                    .collect();
            }
            for set in sets.iter().filter(|set| !set.is_empty()) {
                let begin = set.iter().map(|one| before[one.0] + one.1).min().unwrap();
                let end = set.iter().map(|one| before[one.0] + one.2).max().unwrap();
                if end - begin <= self.rule.near.within {
                    starts.push(set.iter().map(|one| (one.0, one.1)).min().unwrap());
                }
            }
        }
        starts
    }

    /// Whether the rule holds in a segment or, with `None`, in the call; and the segment of the first words.
    fn holds(&self, segment: Option<usize>) -> Option<Option<usize>> {
        let rule = self.rule;
        let here = |phrase: &String| -> Vec<(usize, usize)> {
            let said =
                self.said(phrase).into_iter().filter(|one| segment.is_none_or(|segment| segment == one.0));
            said.map(|one| (one.0, one.1)).collect()
        };
        let mut places = Vec::new();
        let any: Vec<_> = rule.any.iter().flat_map(here).map(|one| one.0).collect();
        let of_regex: Vec<usize> = rule
            .regex
            .iter()
            .flat_map(|pattern| {
                let regex = Regex::new(&format!("{}{pattern}", if rule.fold { "(?i)" } else { "" })).unwrap();
                let segments = self.segments.iter().enumerate();
                let found = segments.filter(|(index, one)| {
                    self.chosen[*index]
                        && segment.is_none_or(|segment| segment == *index)
                        && regex.is_match(&one.text)
                });
                found.map(|(index, _)| index).collect::<Vec<_>>()
            })
            .collect();
        if !(rule.any.is_empty() && rule.regex.is_empty()) && any.is_empty() && of_regex.is_empty() {
            return None;
        }
        places.extend(any);
        places.extend(of_regex);
        for phrase in &rule.all {
            let said = here(phrase);
            if said.is_empty() {
                return None;
            }
            places.extend(said.iter().map(|one| one.0));
        }
        if !rule.near.words.is_empty() {
            let starts = self.near(segment);
            places.push(starts.iter().min()?.0);
        }
        if rule.not.iter().chain(&rule.missing).any(|phrase| !here(phrase).is_empty()) {
            return None;
        }
        let is_nothing =
            rule.any.is_empty() && rule.regex.is_empty() && rule.all.is_empty() && rule.near.words.is_empty();
        if is_nothing && rule.missing.is_empty() {
            return None;
        }
        Some(places.into_iter().min())
    }
}

/// Rule and segment of each alert, by rule.
fn naive(rules: &[Rule], segments: &[Segment], length_ms: u64) -> Vec<(usize, Option<usize>)> {
    let mut alerts = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let chosen = segments.iter().map(|segment| {
            let begin = segment.begin_ms.unwrap();
            (rule.roles.is_empty() || segment.role.as_ref().is_some_and(|role| rule.roles.contains(role)))
                && (rule.emotion.is_empty()
                    || segment.emotion.as_ref().is_some_and(|emotion| rule.emotion.contains(emotion)))
                && match rule.window {
                    Window::All => true,
                    Window::First(size) => begin < size,
                    Window::Last(size) => begin + size >= length_ms,
                    Window::FirstShare(share) => begin * 100 < length_ms * share,
                    Window::LastShare(share) => begin * 100 + length_ms * share >= length_ms * 100,
                    Window::Between(from, to) => from <= begin && begin < to,
                }
        });
        let reference = Reference { rule, segments, chosen: chosen.collect() };
        if rule.scope == Scope::Call || !rule.missing.is_empty() {
            alerts.extend(reference.holds(None).map(|segment| (index, segment)));
            continue;
        }
        let mut last: Option<u64> = None;
        for (place, segment) in segments.iter().enumerate() {
            let begin = segment.begin_ms.unwrap();
            let is_free = last.is_none_or(|last| !rule.once && begin - last >= rule.cooldown.ms);
            if reference.holds(Some(place)).is_some() && is_free {
                alerts.push((index, Some(place)));
                last = Some(begin);
            }
        }
    }
    alerts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_holds_where_the_reference_says(rules in vec(rule(), 1..8), segments in call()) {
        let length_ms = segments.iter().filter_map(|segment| segment.end_ms).max().unwrap_or(0);
        let engine = Rules::new(Config { rules: rules.clone() }).unwrap();
        let units: Vec<Unit> = segments.iter().map(|segment| Unit::of_segment(&engine, segment)).collect();
        let judged = engine.judge(&units, None);
        let mut found: Vec<_> = judged.iter().map(|one| (one.rule, one.segment)).collect();
        found.sort_by_key(|(rule, segment)| (*rule, segment.unwrap_or(usize::MAX)));
        prop_assert_eq!(found, naive(&rules, &segments, length_ms), "{:#?}", segments.iter().map(|one| &one.text).collect::<Vec<_>>());
        for one in judged {
            let Some(segment) = one.segment else {
                prop_assert!(one.quote.is_empty());
                continue;
            };
            prop_assert!(!one.quote.is_empty());
            let own = segments[segment].text.trim_end();
            let runs_over = (1..one.quote.len()).filter(|at| one.quote.is_char_boundary(*at)).any(|at| {
                let (left, right) = (one.quote[..at].trim_end(), one.quote[at..].trim_start());
                own.ends_with(left) && segments[segment + 1..].iter().any(|next| next.text.trim_start().starts_with(right))
            });
            prop_assert!(own.contains(&one.quote) || runs_over, "{:?}", one.quote);
        }
    }
}
