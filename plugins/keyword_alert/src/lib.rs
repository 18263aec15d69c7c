//! Raises an alert when a transcript contains what a rule names: words, phrases, regular expressions.
//!
//! ```toml
//! [[plugin]]
//! name = "keywords"
//! library = "keyword_alert"
//! [[plugin.config.rules]]
//! name = "churn"                  # `rule` of the alert
//! any = ["cancel", "close my account"]
//! regex = ["refund(s|ed)?"]
//! severity = "warning"            # info | warning | critical
//! roles = []                      # empty: every channel
//! ```
//!
//! Words and phrases are found in any case and with any white space between their words, and only as whole words where the script has
//! spaces: "cancel" is not found in "cancellation", but "退款" is found in "我要退款。". One alert per rule and segment: for the first match, with
//! the segment's times, since words have no times of their own. If there are more alerts than the daemon accepts for one transcript (256),
//! the plugin raises the most severe ones, and emits an event with the number of alerts left out.

mod config;
mod matcher;

use std::cmp::Ordering;

use hark_sdk::event::{Alert, AlertState, Severity};
use hark_sdk::{Error, Host, Plugin, Transcript, emission};
use serde_json::json;

pub use config::{Config, Mistake, Rule};
pub use matcher::{Match, Matcher};

/// The plugin: the rules, ready to match.
pub struct KeywordAlert {
    rules: Vec<(Rule, Matcher)>,
}

impl Plugin for KeywordAlert {
    fn create(config: &str) -> Result<Self, Error> {
        let rules = Config::parse(config)?.rules;
        let ready = |rule: Rule| Ok((rule.matcher()?, rule)).map(|(matcher, rule)| (rule, matcher));
        Ok(KeywordAlert { rules: rules.into_iter().map(ready).collect::<Result<_, Mistake>>()? })
    }

    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let mut alerts = self.alerts(transcript);
        let found = alerts.len();
        if found > emission::MOST {
            // One emission is reserved for the event with the number left out; the most severe alerts stay, in their order.
            let most = emission::MOST - 1;
            let mut by_severity: Vec<Severity> = alerts.iter().map(|alert| alert.severity).collect();
            by_severity.sort_by(|left, right| right.cmp(left));
            let least = by_severity[most - 1];
            let mut left = most - by_severity.iter().filter(|&&severity| severity > least).count();
            alerts.retain(|alert| match alert.severity.cmp(&least) {
                Ordering::Greater => true,
                Ordering::Equal if left > 0 => {
                    left -= 1;
                    true
                }
                _ => false,
            });
            host.emit(&json!({ "alerts": found, "left_out": found - alerts.len() }))?;
        }
        alerts.iter().try_for_each(|alert| host.alert(alert))
    }
}

impl KeywordAlert {
    /// The alerts of a transcript, in the order of its segments, then of the rules.
    pub fn alerts(&self, transcript: &Transcript) -> Vec<Alert> {
        match transcript.segments.as_deref() {
            None | Some([]) => {
                let whole = Place { index: None, role: None, text: &transcript.text };
                self.in_place(whole, |_| {}).collect()
            }
            Some(segments) => {
                let alerts = segments.iter().enumerate().flat_map(|(index, segment)| {
                    let place =
                        Place { index: Some(index), role: segment.role.as_deref(), text: &segment.text };
                    self.in_place(place, |alert| {
                        alert.channel = Some(segment.channel);
                        (alert.begin_ms, alert.end_ms) = (segment.begin_ms, segment.end_ms);
                    })
                });
                alerts.collect()
            }
        }
    }

    fn in_place<'a>(
        &'a self,
        place: Place<'a>,
        locate: impl Fn(&mut Alert) + 'a,
    ) -> impl Iterator<Item = Alert> + 'a {
        let rules = self.rules.iter().filter(move |(rule, _)| rule.is_for(place.role));
        rules.filter_map(move |(rule, matcher)| {
            let found = matcher.find(place.text)?;
            let mut alert = Alert {
                alert: match place.index {
                    Some(index) => format!("{}-{index}", rule.name),
                    None => rule.name.clone(),
                },
                plugin: String::new(),
                rule: rule.name.clone(),
                severity: rule.severity,
                state: AlertState::Confirmed,
                channel: None,
                role: place.role.map(str::to_owned),
                begin_ms: None,
                end_ms: None,
                quote: place.text[found.range].to_owned(),
                ..Alert::default()
            };
            locate(&mut alert);
            Some(alert)
        })
    }
}

/// A text that rules are matched against.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Number of the segment.
    index: Option<usize>,
    role: Option<&'a str>,
    text: &'a str,
}

/// Severity of a rule's alerts if the rule sets none.
const fn default_severity() -> Severity {
    Severity::Warning
}

hark_sdk::export!(KeywordAlert);
