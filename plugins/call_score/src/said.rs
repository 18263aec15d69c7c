//! The checks that need the words: rules as of `keyword_alert`, and how many words a role says.

use hark_rules::{Match, Rule, Rules, Scope, Unit, Window};
use hark_sdk::Error;
use hark_sdk::event::{Segment, TranscriptFinal};
use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};

use crate::check_result::{CheckResult, seconds};
use crate::config::Config;

/// The rules of the checks, ready to judge.
pub(crate) struct Said {
    rules: Rules,
    /// By rule, the index of its check.
    checks: Vec<usize>,
    words: WordSegmenterBorrowed<'static>,
}

/// What the rules found in a call.
pub(crate) struct Found<'a> {
    said: &'a Said,
    transcript: &'a TranscriptFinal,
    length_ms: Option<u64>,
    matches: Vec<Match>,
}

impl Said {
    /// Compiles the rules of the checks. A rule with `missing` has a second one behind it, which finds what should not have been said.
    ///
    /// # Errors
    /// The first mistake in a rule; the message begins with the key.
    pub(crate) fn new(config: &Config) -> Result<Said, Error> {
        let (mut rules, mut checks) = (Vec::new(), Vec::new());
        for (index, check) in config.checks.iter().enumerate() {
            let Some(rule) = &check.rule else { continue };
            let rule = Rule { name: check.name.clone(), ..rule.clone() };
            let spoiler = Rule {
                any: rule.missing.clone(),
                name: rule.name.clone(),
                roles: rule.roles.clone(),
                window: rule.window,
                emotion: rule.emotion.clone(),
                fold: rule.fold,
                ..Rule::default()
            };
            rules.extend([rule].into_iter().chain((!spoiler.any.is_empty()).then_some(spoiler)));
            checks.resize(rules.len(), index);
        }
        let rules = match Rules::new(hark_rules::Config { rules }) {
            Ok(rules) => rules,
            Err(mistake) => return Err(Error::new(of_check(&checks, &mistake.path, &mistake.text))),
        };
        Ok(Said { rules, checks, words: WordSegmenter::new_auto(WordBreakInvariantOptions::default()) })
    }

    /// What of the rules can hardly be meant.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let of_rule = |mistake: &hark_rules::Mistake| {
            let index: Option<usize> = mistake.path.split('.').nth(1).and_then(|index| index.parse().ok());
            // A rule with `missing` has a second rule behind it; a warning about that one repeats the warning about the first.
            index.is_none_or(|index| index == 0 || self.checks[index] != self.checks[index - 1])
        };
        let warnings = self.rules.warnings();
        warnings
            .iter()
            .filter(|mistake| of_rule(mistake))
            .map(|mistake| of_check(&self.checks, &mistake.path, &mistake.text))
            .collect()
    }

    /// Looks for the rules in a call. `length_ms`: of the recording, where it is known.
    pub(crate) fn find<'a>(&'a self, transcript: &'a TranscriptFinal, length_ms: Option<u64>) -> Found<'a> {
        let segments = transcript.segments.as_deref().unwrap_or_default();
        let units: Vec<Unit> = match segments {
            [] => vec![Unit::of_text(&self.rules, &transcript.text)],
            segments => segments.iter().map(|segment| Unit::of_segment(&self.rules, segment)).collect(),
        };
        // As hark_rules has it: a recording of unknown length ends with its last segment.
        let length_ms = length_ms.or_else(|| segments.iter().filter_map(|segment| segment.end_ms).max());
        Found { said: self, transcript, length_ms, matches: self.rules.judge(&units, length_ms) }
    }
}

/// A mistake at its place below the checks: `rules.1.regex.0` is in the rule of some check.
fn of_check(checks: &[usize], path: &str, text: &str) -> String {
    let below = path.strip_prefix("rules.").map(|rest| rest.split_once('.').unwrap_or((rest, "")));
    let place = below.and_then(|(index, key)| Some((checks.get(index.parse::<usize>().ok()?)?, key)));
    match place {
        Some((check, "")) => format!("checks.{check}.rule: {text}"),
        Some((check, key)) => format!("checks.{check}.rule.{key}: {text}"),
        None => format!("checks: {text}"),
    }
}

impl Found<'_> {
    /// Whether the rule of a check matches.
    pub(crate) fn rule(&self, check: usize, rule: &Rule) -> CheckResult {
        if let Some(why) = self.hides(rule) {
            return CheckResult::not_measured(why);
        }
        let place = self.said.checks.iter().position(|of| *of == check);
        let first = |place: usize| self.matches.iter().find(|found| found.rule == place);
        let looked_at = || {
            let count = self.segments().filter(|segment| self.looks_at(rule, segment)).count();
            let of =
                if rule.roles.is_empty() { String::new() } else { format!(" of {}", rule.roles.join(", ")) };
            let within = if rule.window == Window::All { "" } else { " within the window" };
            format!("{count} segments{of}{within}")
        };
        match place.and_then(first) {
            Some(_) if rests_on_silence(rule) && self.has_holes() => CheckResult::not_measured(HOLES),
            Some(found) if found.quote.is_empty() => {
                CheckResult::of(true, format!("none of the words is said in {}", looked_at()))
            }
            Some(found) => CheckResult::of(true, self.place(found)),
            None => match place.filter(|_| !rule.missing.is_empty()).and_then(|place| first(place + 1)) {
                Some(found) => CheckResult::of(false, self.place(found)),
                None if self.has_holes() => CheckResult::not_measured(HOLES),
                None => CheckResult::of(false, format!("not said in {}", looked_at())),
            },
        }
    }

    /// How many words a role says; an error if a part of it is not known.
    pub(crate) fn words(&self, role: &str) -> Result<usize, &'static str> {
        if self.has_holes() {
            return Err(HOLES);
        }
        let of_role = self.segments().filter(|segment| segment.role.as_deref() == Some(role));
        let count = |segment: &Segment| {
            self.said
                .words
                .segment_str(&segment.text)
                .iter_with_word_type()
                .filter(|(_, kind)| kind.is_word_like())
                .count()
        };
        Ok(of_role.map(count).sum())
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.transcript.segments.iter().flatten().filter(|segment| !segment.text.trim().is_empty())
    }

    /// Whether a part could not be recognized: then what is not found may have been said.
    fn has_holes(&self) -> bool {
        self.transcript.quality.failed_ms > 0
            || self.transcript.segments.iter().flatten().any(|segment| segment.error.is_some())
    }

    /// Why a rule cannot be judged: the transcript lacks the role, the time or the emotion by which the rule selects segments.
    fn hides(&self, rule: &Rule) -> Option<&'static str> {
        if self.transcript.speech == Some(false) {
            return Some("nothing is said");
        }
        if !rule.roles.is_empty() && self.segments().all(|segment| segment.role.is_none()) {
            return Some("no segment has a role; split the channels and name their roles in the route");
        }
        if rule.window != Window::All && self.segments().all(|segment| segment.begin_ms.is_none()) {
            return Some("no segment has a time");
        }
        if !rule.emotion.is_empty()
            && self.segments().all(|segment| !is_of_role(rule, segment) || segment.emotion.is_none())
        {
            return Some("no segment has an emotion");
        }
        None
    }

    /// Whether a rule looks at a segment.
    fn looks_at(&self, rule: &Rule, segment: &Segment) -> bool {
        let has_emotion = || segment.emotion.as_ref().is_some_and(|emotion| rule.emotion.contains(emotion));
        is_of_role(rule, segment)
            && rule.window.holds(segment.begin_ms, self.length_ms)
            && (rule.emotion.is_empty() || has_emotion())
    }

    fn place(&self, found: &Match) -> String {
        let segments = self.transcript.segments.as_deref().unwrap_or_default();
        let segment = found.segment.and_then(|index| Some((index + 1, segments.get(index)?)));
        let Some((number, segment)) = segment else { return format!("{:?} is said", found.quote) };
        let who = match &segment.role {
            Some(role) => role.clone(),
            None => format!("channel {}", segment.channel),
        };
        let when = segment.begin_ms.map(|ms| format!(" at {}", seconds(ms))).unwrap_or_default();
        format!("{:?} is said by {who} in segment {number}{when}", found.quote)
    }
}

const HOLES: &str = "a part of the call could not be recognized";

/// Whether a rule can match because words are not said anywhere.
fn rests_on_silence(rule: &Rule) -> bool {
    !rule.missing.is_empty() || rule.scope == Scope::Call && !rule.not.is_empty()
}

fn is_of_role(rule: &Rule, segment: &Segment) -> bool {
    rule.roles.is_empty() || segment.role.as_ref().is_some_and(|role| rule.roles.contains(role))
}
