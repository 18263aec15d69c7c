//! Judges the rules over segments.

use std::collections::HashMap;

use crate::config::{Rule, Scope};
use crate::phrases::{Hit, Key};
use crate::rules::Rules;
use crate::unit::Unit;

/// A rule that holds, for a segment or for the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Index of the rule.
    pub rule: usize,
    /// Index of the segment in which the first words stand; `None` where nothing was said, and that is the point.
    pub segment: Option<usize>,
    /// The first words that the rule asks for, as they are written; empty where nothing was said.
    pub quote: String,
    /// Whether the rule holds in the segment only because of a phrase that runs into the next one.
    pub runs_over: bool,
}

/// Segments in the order of time, and what is known of their call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) units: &'a [&'a Unit],
    /// For each segment the next one of its channel that has words, where nothing can still come between them.
    pub(crate) next: &'a [Option<usize>],
    pub(crate) length_ms: Option<u64>,
    /// Whether the call is over.
    pub(crate) has_ended: bool,
}

/// A hit, for one rule.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    rule: u32,
    unit: usize,
    /// The segment in which it ends, if that is another one.
    into: Option<usize>,
    key: Key,
    hit: &'a Hit,
}

impl Rules {
    /// The matches of all rules over a whole call, in the order of the segments, then of the rules; what is judged over the call stands where
    /// its first words do. `cooldown` and `once` are applied. `length_ms`: of the recording; where it is not known, the call ends with its
    /// last segment.
    pub fn judge(&self, units: &[Unit], length_ms: Option<u64>) -> Vec<Match> {
        let units: Vec<&Unit> = units.iter().collect();
        let length_ms = length_ms.or_else(|| units.iter().filter_map(|unit| unit.end_ms).max());
        let next = following(&units, |_, _| true);
        let view = View { units: &units, next: &next, length_ms, has_ended: true };
        let mut raised: HashMap<usize, Vec<Option<u64>>> = HashMap::new();
        let mut matches = self.matches(&view);
        matches.retain(|found| {
            let begin_ms = found.segment.and_then(|segment| units[segment].begin_ms);
            let before = raised.entry(found.rule).or_default();
            let is_free = self.is_free(found.rule, begin_ms, before.iter().copied());
            if is_free {
                before.push(begin_ms);
            }
            is_free
        });
        matches
    }

    /// Whether a rule has `cooldown` or `once`.
    pub(crate) fn is_limited(&self, rule: usize) -> bool {
        let rule = &self.list()[rule];
        rule.once || rule.cooldown.ms > 0
    }

    /// Whether `cooldown` and `once` let a rule raise an alert at a time, after alerts at others. A time that was not measured is in no
    /// cooldown.
    pub(crate) fn is_free(
        &self,
        rule: usize,
        begin_ms: Option<u64>,
        mut others: impl Iterator<Item = Option<u64>>,
    ) -> bool {
        let is_limited = self.is_limited(rule);
        let rule: &Rule = &self.list()[rule];
        // Most rules are not, and a long call may have thousands of their alerts.
        !is_limited
            || !others.any(|other| {
                let apart = other.zip(begin_ms).map(|(one, other)| one.abs_diff(other));
                rule.once || apart.is_some_and(|apart| apart < rule.cooldown.ms)
            })
    }

    /// The matches of all rules, without `cooldown` and `once`.
    pub(crate) fn matches(&self, view: &View<'_>) -> Vec<Match> {
        let across: Vec<Vec<Hit>> = view
            .next
            .iter()
            .enumerate()
            .map(|(unit, next)| match next {
                Some(next) => self.find_across(view.units[unit], view.units[*next]),
                None => Vec::new(),
            })
            .collect();
        let mut found = Vec::new();
        for (unit, across) in across.iter().enumerate() {
            let here = view.units[unit].hits.iter().map(|hit| (hit, None));
            for (hit, into) in here.chain(across.iter().map(|hit| (hit, view.next[unit]))) {
                let uses = self.uses[hit.what as usize].iter();
                found.extend(uses.map(|used| Found { rule: used.rule, unit, into, key: used.key, hit }));
            }
        }
        found.retain(|one| {
            let chooses = |unit: usize| self.chooses(one.rule, view.units[unit], view.length_ms);
            chooses(one.unit) && one.into.is_none_or(chooses)
        });
        found.sort_by_key(|one| {
            (one.rule, one.unit, one.hit.begin, one.into.is_none(), u32::MAX - one.hit.end)
        });
        let mut matches = Vec::new();
        for of_rule in found.chunk_by(|one, other| one.rule == other.rule) {
            let rule = of_rule[0].rule;
            match self.scope(rule) {
                Scope::Segment => {
                    let of_unit = of_rule.chunk_by(|one, other| one.unit == other.unit);
                    matches.extend(of_unit.filter_map(|found| self.holds_in_segment(rule, found, view)));
                }
                Scope::Call if view.has_ended || self.list()[rule as usize].missing.is_empty() => {
                    matches.extend(self.holds(rule, of_rule, view));
                }
                Scope::Call => {}
            }
        }
        if view.has_ended {
            // A rule with `missing` none of whose words was said has no entry in `found`, so the loop above has not judged it.
            let silent =
                self.missing().filter(|rule| found.binary_search_by_key(rule, |one| one.rule).is_err());
            matches.extend(silent.filter_map(|rule| self.holds(rule, &[], view)));
        }
        matches.sort_by_key(|one| (one.segment.unwrap_or(usize::MAX), one.rule));
        matches
    }

    fn holds_in_segment(&self, rule: u32, found: &[Found<'_>], view: &View<'_>) -> Option<Match> {
        let holds = self.holds(rule, found, view)?;
        let own: Vec<Found<'_>> = found.iter().filter(|one| one.into.is_none()).copied().collect();
        let runs_over = own.len() < found.len() && self.holds(rule, &own, view).is_none();
        Some(Match { runs_over, ..holds })
    }

    /// Whether a rule holds over what was found, in order, in what it looks at.
    fn holds(&self, rule: u32, found: &[Found<'_>], view: &View<'_>) -> Option<Match> {
        let needs = self.needs[rule as usize];
        let is_there = |key| found.iter().any(|one| one.key == key);
        if !needs.something
            || needs.any && !is_there(Key::Any)
            || is_there(Key::Not)
            || is_there(Key::Missing)
            || !(0..needs.all).all(|place| is_there(Key::All(place)))
        {
            return None;
        }
        let near = match needs.near {
            0 => None,
            count => Some(self.nearest(rule, count, found, view)?),
        };
        let said = |one: &&Found<'_>| matches!(one.key, Key::Any | Key::All(_));
        let first = found.iter().find(said).map(|one| (one, one));
        // The longest of those that begin together, as `found` is sorted; a stretch of near words is longer than any of its words.
        let first = match (first, near) {
            (Some(first), Some(near))
                if (first.0.unit, first.0.hit.begin) < (near.0.unit, near.0.hit.begin) =>
            {
                Some(first)
            }
            (first, near) => near.or(first),
        };
        let quote = first.map(|(begin, end)| quote(begin, end, view)).unwrap_or_default();
        Some(Match {
            rule: rule as usize,
            segment: first.map(|(begin, _)| begin.unit),
            quote,
            runs_over: false,
        })
    }

    /// The first stretch of a channel's words that has all of `near.words` and no more words than allowed: its first and its last phrase.
    fn nearest<'f, 'a>(
        &self,
        rule: u32,
        count: u32,
        found: &'f [Found<'a>],
        view: &View<'_>,
    ) -> Option<(&'f Found<'a>, &'f Found<'a>)> {
        let within = self.list()[rule as usize].near.within;
        let before = self.words_before(rule, found, view);
        let begin = |one: &Found<'_>| before(one.unit) + one.hit.word as usize;
        let end = |one: &Found<'_>| begin(one) + one.hit.words as usize;
        let mut first = None;
        let mut channels: Vec<Option<u32>> = found.iter().map(|one| view.units[one.unit].channel).collect();
        channels.sort_unstable();
        channels.dedup();
        for channel in channels {
            // From the back: for each phrase the next place where it is said.
            let mut next: Vec<Option<&Found<'_>>> = vec![None; count as usize];
            for one in found.iter().rev().filter(|one| view.units[one.unit].channel == channel) {
                let Key::Near(place) = one.key else { continue };
                next[place as usize] = Some(one);
                let Some(all) = next.iter().copied().collect::<Option<Vec<_>>>() else { continue };
                let Some(last) = all.into_iter().max_by_key(|one| end(one)) else { continue };
                let is_first = first.is_none_or(|(first, _): (&Found<'_>, _)| {
                    (one.unit, one.hit.begin) < (first.unit, first.hit.begin)
                });
                if end(last) - begin(one) <= within && is_first {
                    first = Some((one, last));
                }
            }
        }
        first
    }

    /// How many words of its channel a rule looks at before a segment.
    fn words_before<'v>(
        &self,
        rule: u32,
        found: &[Found<'_>],
        view: &View<'v>,
    ) -> impl Fn(usize) -> usize + use<'v> {
        let mut of_channel: HashMap<Option<u32>, usize> = HashMap::new();
        let mut before = HashMap::new();
        // Within one segment they need not be counted.
        let is_one = found.iter().all(|one| one.unit == found[0].unit);
        for (index, unit) in view.units.iter().enumerate().filter(|_| !is_one) {
            if self.chooses(rule, unit, view.length_ms) {
                let sum = of_channel.entry(unit.channel).or_default();
                before.insert(index, *sum);
                *sum += unit.edges.words();
            }
        }
        move |unit| before.get(&unit).copied().unwrap_or(0)
    }
}

/// For each segment the next one of its channel that has words, if a phrase may run into it. `is_linked`: whether nothing can still come
/// between two segments.
pub(crate) fn following(units: &[&Unit], is_linked: impl Fn(usize, usize) -> bool) -> Vec<Option<usize>> {
    let mut next = vec![None; units.len()];
    let mut last: HashMap<Option<u32>, usize> = HashMap::new();
    for (index, unit) in units.iter().enumerate().filter(|(_, unit)| unit.edges.has_words()) {
        if let Some(before) = last.insert(unit.channel, index)
            && units[before].is_close_to(unit)
            && is_linked(before, index)
        {
            next[before] = Some(index);
        }
    }
    next
}

fn quote(begin: &Found<'_>, end: &Found<'_>, view: &View<'_>) -> String {
    let unit = view.units[begin.unit];
    match end.into {
        // A stretch over more than one segment is told by its first phrase.
        _ if end.unit != begin.unit => quote(begin, begin, view),
        Some(next) => unit.quote(begin.hit.begin, end.hit.end, Some(view.units[next])),
        None if begin.into.is_some() => quote(begin, begin, view),
        None => unit.quote(begin.hit.begin, end.hit.end, None),
    }
}
