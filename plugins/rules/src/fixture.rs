//! Transcripts with the alerts that are expected of them: rules tested like code.

use hark_sdk::event::Segment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::Rules;
use crate::unit::Unit;

/// A file of cases.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The cases, in the file `[[case]]`.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// A call, and the alerts that the rules are to raise for it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name in the report.
    pub name: String,
    /// What is said, in the order of time, in the file `[[case.segments]]`; the call ends with the last of them.
    #[serde(default)]
    pub segments: Vec<Line>,
    /// The alerts, in any order, in the file `[[case.alerts]]`; none: no rule may raise one.
    #[serde(default)]
    pub alerts: Vec<Expected>,
}

/// A segment of a case.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Channel, from 0.
    #[serde(default)]
    pub channel: u32,
    /// The channel's role.
    pub role: Option<String>,
    /// Begin in milliseconds of the recording; left out: not measured.
    pub begin_ms: Option<u64>,
    /// End in milliseconds of the recording; left out: not measured.
    pub end_ms: Option<u64>,
    /// What is said.
    pub text: String,
    /// The segment's emotion; left out: unknown.
    pub emotion: Option<String>,
}

/// An alert that a case expects. What is left out may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The rule's name.
    pub rule: String,
    /// The channel of the first words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<u32>,
    /// Begin of the segment with the first words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin_ms: Option<u64>,
}

/// An alert that the rules raise for a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Got {
    /// The rule's name.
    pub rule: String,
    /// The channel of the first words; null where nothing was said.
    pub channel: Option<u32>,
    /// Begin of the segment with the first words.
    pub begin_ms: Option<u64>,
    /// The first words.
    pub quote: String,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Whether exactly the expected alerts were raised.
    pub passed: bool,
    /// All alerts that were raised, in the order of the segments, then of the rules.
    pub got: Vec<Got>,
    /// Expected alerts that no rule raised.
    pub missing: Vec<Expected>,
    /// Alerts that were raised and not expected.
    pub unexpected: Vec<Got>,
}

impl Expected {
    fn is(&self, got: &Got) -> bool {
        self.rule == got.rule
            && self.channel.is_none_or(|channel| got.channel == Some(channel))
            && self.begin_ms.is_none_or(|begin| got.begin_ms == Some(begin))
    }
}

impl Case {
    /// Judges the case, as a final with these segments would be judged.
    pub fn judge(&self, rules: &Rules) -> CaseResult {
        let segment = |line: &Line| Segment {
            channel: line.channel,
            role: line.role.clone(),
            begin_ms: line.begin_ms,
            end_ms: line.end_ms,
            text: line.text.clone(),
            emotion: line.emotion.clone(),
            ..Segment::default()
        };
        let units: Vec<Unit> =
            self.segments.iter().map(|line| Unit::of_segment(rules, &segment(line))).collect();
        let judged = rules.judge(&units, None).into_iter();
        let got: Vec<Got> = judged
            .map(|found| {
                let line = found.segment.map(|segment| &self.segments[segment]);
                Got {
                    rule: rules.list()[found.rule].name.clone(),
                    channel: line.map(|line| line.channel),
                    begin_ms: line.and_then(|line| line.begin_ms),
                    quote: found.quote,
                }
            })
            .collect();
        let mut unexpected = got.clone();
        let mut missing = Vec::new();
        // The most specific expectations first, so that a vague one does not take the alert that a specific one needs.
        let mut expected: Vec<&Expected> = self.alerts.iter().collect();
        expected
            .sort_by_key(|alert| u8::from(alert.channel.is_none()) + 2 * u8::from(alert.begin_ms.is_none()));
        for alert in expected {
            match unexpected.iter().position(|got| alert.is(got)) {
                Some(index) => drop(unexpected.remove(index)),
                None => missing.push(alert.clone()),
            }
        }
        let passed = missing.is_empty() && unexpected.is_empty();
        CaseResult { name: self.name.clone(), passed, got, missing, unexpected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn expected(rule: &str, channel: Option<u32>, begin_ms: Option<u64>) -> Expected {
        Expected { rule: rule.to_owned(), channel, begin_ms }
    }

    fn outcome(alerts: Vec<Expected>) -> CaseResult {
        let json = r#"{"rules":[{"name":"churn","any":["cancel"]},{"name":"greeting","missing":["hello"]}]}"#;
        let rules = Rules::new(Config::parse(json).unwrap()).unwrap();
        let line = |channel, begin_ms| Line {
            channel,
            begin_ms: Some(begin_ms),
            end_ms: Some(begin_ms + 1_000),
            text: "Cancel!".to_owned(),
            ..Line::default()
        };
        Case { name: "c".to_owned(), segments: vec![line(0, 0), line(1, 1_000)], alerts }.judge(&rules)
    }

    #[test]
    fn each_expected_alert_is_one_that_was_raised() {
        let all = vec![
            expected("churn", None, None),
            expected("churn", Some(0), Some(0)),
            expected("greeting", None, None),
        ];
        assert!(outcome(all.clone()).passed);
        let got = outcome(all[..2].to_vec());
        assert!(!got.passed && got.missing.is_empty());
        assert_eq!(got.unexpected.iter().map(|got| got.rule.as_str()).collect::<Vec<_>>(), ["greeting"]);
        let more = outcome([all, vec![expected("churn", Some(1), None)]].concat());
        assert_eq!((more.missing.len(), more.unexpected.len()), (1, 0), "two cannot be three");
        let wrong = outcome(vec![expected("churn", Some(1), Some(5)), expected("refund", None, None)]);
        assert_eq!((wrong.missing.len(), wrong.unexpected.len()), (2, 3));
    }
}
