//! The difference between what plugins said of a job and what they would say now. Pure.

use std::collections::{HashMap, VecDeque};

use hark_sdk::event::{AlertState, Body, Event, Kind};
use serde::Serialize;
use serde_json::Value;

/// How an event of a plugin differs from what was said then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It would be said now, and was not said then.
    New,
    /// It was said then, and would be said now.
    Same,
    /// It was said then, and would not be said now.
    Gone,
}

/// What makes two events equal. The ids of alerts do not count: a plugin numbers them in the order in which they occur.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Alert { plugin: String, rule: String, channel: Option<u32>, begin_ms: Option<u64> },
    Annotation { kind: Kind, channel: u32, begin_ms: Option<u64>, end_ms: Option<u64>, value: String },
    Plugin { plugin: String, data: String },
}

/// Compares the events that plugins emitted then for one job with those that they emit now, both in the order of emission. An alert counts
/// once, in its last state, and only if it was confirmed; a retracted or still tentative alert does not count. Returns the events of now in
/// their order, and then the events that are gone; for equal events it returns the one of `now`.
///
/// Events of the daemon about a plugin (that it failed, which files it wrote) are not the plugin's: they are left out of `then`, and count
/// as new in `now`. The same holds for what a plugin emitted about a partial, because no stream keeps partials.
pub fn compare(then: Vec<Event>, now: Vec<Event>) -> Vec<(Difference, Event)> {
    let then: Vec<Event> =
        standing(then).filter(|event| !is_of_daemon(&event.body) && !is_about_partial(&event.body)).collect();
    let mut unmatched: HashMap<Key, VecDeque<usize>> = HashMap::new();
    for (place, event) in then.iter().enumerate() {
        if let Some(key) = key(&event.body) {
            unmatched.entry(key).or_default().push_back(place);
        }
    }
    let mut is_matched = vec![false; then.len()];
    let mut compared = Vec::new();
    for event in standing(now) {
        let Some(key) = key(&event.body) else { continue };
        let place = unmatched.get_mut(&key).and_then(VecDeque::pop_front);
        let difference = match place {
            Some(place) => {
                is_matched[place] = true;
                Difference::Same
            }
            None => Difference::New,
        };
        compared.push((difference, event));
    }
    let gone = then
        .into_iter()
        .zip(is_matched)
        .filter(|(event, is_matched)| !is_matched && key(&event.body).is_some());
    compared.extend(gone.map(|(event, _)| (Difference::Gone, event)));
    compared
}

/// The error in what the daemon says of a plugin that failed.
pub fn failure(body: &Body) -> Option<(&str, &str)> {
    let Body::Plugin(event) = body else { return None };
    let data = event.data.as_object()?;
    let is_report = data.keys().all(|key| key == "error" || key == "quarantined");
    is_report.then_some(())?;
    Some((&event.plugin, data.get("error")?.as_str()?))
}

/// The name of the plugin that said it, where the event has it.
pub fn plugin(body: &Body) -> Option<&str> {
    match body {
        Body::AlertRaised(alert) | Body::AlertRetracted(alert) => Some(&alert.plugin),
        Body::Plugin(event) => Some(&event.plugin),
        _ => None,
    }
}

/// The events that count at the end: each alert in its last state, at the place of its first event.
fn standing(events: Vec<Event>) -> impl Iterator<Item = Event> {
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let mut kept: Vec<Option<Event>> = Vec::new();
    for event in events {
        match &event.body {
            Body::AlertRaised(alert) | Body::AlertRetracted(alert) => {
                let id = (alert.plugin.clone(), alert.alert.clone());
                let is_raised = matches!(event.body, Body::AlertRaised(_));
                match places.get(&id) {
                    // A retracted alert stays retracted.
                    Some(&place) if kept[place].is_none() => {}
                    Some(&place) => kept[place] = is_raised.then_some(event),
                    None => {
                        places.insert(id, kept.len());
                        kept.push(is_raised.then_some(event));
                    }
                }
            }
            _ => kept.push(Some(event)),
        }
    }
    kept.into_iter().flatten().filter(
        |event| !matches!(&event.body, Body::AlertRaised(alert) if alert.state == AlertState::Tentative),
    )
}

fn key(body: &Body) -> Option<Key> {
    Some(match body {
        Body::AlertRaised(alert) => Key::Alert {
            plugin: alert.plugin.clone(),
            rule: alert.rule.clone(),
            channel: alert.channel,
            begin_ms: alert.begin_ms,
        },
        Body::AnnotationLanguage(annotation) | Body::AnnotationEmotion(annotation) => Key::Annotation {
            kind: body.kind(),
            channel: annotation.channel,
            begin_ms: annotation.begin_ms,
            end_ms: annotation.end_ms,
            value: annotation.value.clone(),
        },
        Body::Plugin(event) => Key::Plugin { plugin: event.plugin.clone(), data: event.data.to_string() },
        _ => return None,
    })
}

fn is_of_daemon(body: &Body) -> bool {
    let is_files =
        |data: &Value| data.as_object().is_some_and(|it| it.len() == 1 && it.contains_key("files"));
    failure(body).is_some() || matches!(body, Body::Plugin(event) if is_files(&event.data))
}

/// An alert never counts as one about a partial: the segment or the final has confirmed it.
fn is_about_partial(body: &Body) -> bool {
    !matches!(body, Body::AlertRaised(_)) && body.about().is_some_and(|about| about.revision.is_some())
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{About, Alert, Annotation, PluginEvent};
    use hark_sdk::testing::event;
    use serde_json::json;

    use super::*;

    fn alert(id: &str, rule: &str, begin_ms: u64) -> Alert {
        let (alert, rule) = (id.to_owned(), rule.to_owned());
        Alert { alert, rule, plugin: "keywords".into(), begin_ms: Some(begin_ms), ..Alert::default() }
    }

    fn raised(id: &str, rule: &str, begin_ms: u64) -> Event {
        event(Body::AlertRaised(alert(id, rule, begin_ms)))
    }

    fn tentative(id: &str, rule: &str, begin_ms: u64) -> Event {
        let state = AlertState::Tentative;
        event(Body::AlertRaised(Alert { state, ..alert(id, rule, begin_ms) }))
    }

    fn retracted(id: &str, rule: &str, begin_ms: u64) -> Event {
        event(Body::AlertRetracted(alert(id, rule, begin_ms)))
    }

    fn says(data: Value) -> Event {
        event(Body::Plugin(PluginEvent { plugin: "score".into(), data, ..PluginEvent::default() }))
    }

    fn feels(value: &str) -> Event {
        event(Body::AnnotationEmotion(Annotation { value: value.into(), ..Annotation::default() }))
    }

    /// Each event as a word: the rule of an alert, else the data of a plugin or the value of an annotation.
    fn compared(then: Vec<Event>, now: Vec<Event>) -> Vec<String> {
        let word = |event: &Event| match &event.body {
            Body::AlertRaised(alert) => alert.rule.clone(),
            Body::Plugin(event) => event.data.to_string(),
            Body::AnnotationEmotion(annotation) => annotation.value.clone(),
            other => panic!("{other:?}"),
        };
        let mark = |difference| match difference {
            Difference::New => '+',
            Difference::Same => '=',
            Difference::Gone => '-',
        };
        compare(then, now)
            .iter()
            .map(|(difference, event)| format!("{}{}", mark(*difference), word(event)))
            .collect()
    }

    #[test]
    fn alerts_are_the_same_by_rule_channel_and_begin_whatever_their_ids() {
        let then = vec![raised("1.churn.0", "churn", 0), raised("2.refund.0", "refund", 20)];
        let now = vec![raised("refund.0", "refund", 20), raised("churn.0", "churn", 10)];
        assert_eq!(compared(then, now), ["=refund", "+churn", "-churn"]);
        let channel = |channel| event(Body::AlertRaised(Alert { channel, ..alert("1", "churn", 0) }));
        assert_eq!(compared(vec![channel(Some(0))], vec![channel(Some(1))]), ["+churn", "-churn"]);
        let of_another = event(Body::AlertRaised(Alert { plugin: "other".into(), ..alert("1", "churn", 0) }));
        assert_eq!(compared(vec![of_another], vec![raised("1", "churn", 0)]), ["+churn", "-churn"]);
    }

    #[test]
    fn an_alert_counts_once_in_its_last_state() {
        let then = vec![tentative("1", "churn", 0), raised("1", "churn", 0), raised("1", "churn", 0)];
        assert_eq!(compared(then.clone(), vec![raised("7", "churn", 0)]), ["=churn"]);
        assert_eq!(compared(vec![raised("7", "churn", 0)], then), ["=churn"]);
    }

    #[test]
    fn what_was_retracted_or_is_tentative_still_was_not_said() {
        let now = || vec![raised("7", "churn", 0)];
        assert_eq!(compared(vec![tentative("1", "churn", 0), retracted("1", "churn", 0)], now()), ["+churn"]);
        let again = vec![tentative("1", "a", 0), retracted("1", "a", 0), raised("1", "a", 0)];
        assert_eq!(compared(again, Vec::new()), [""; 0]);
        assert_eq!(compared(vec![tentative("1", "churn", 0)], now()), ["+churn"]);
        assert_eq!(compared(vec![retracted("1", "churn", 0)], Vec::new()), [""; 0]);
        assert_eq!(compared(now(), vec![raised("1", "churn", 0), retracted("1", "churn", 0)]), ["-churn"]);
    }

    #[test]
    fn equal_events_are_matched_one_to_one() {
        let two = || vec![raised("1", "churn", 0), raised("2", "churn", 0)];
        assert_eq!(compared(two(), vec![raised("1", "churn", 0)]), ["=churn", "-churn"]);
        assert_eq!(compared(vec![raised("1", "churn", 0)], two()), ["=churn", "+churn"]);
    }

    #[test]
    fn other_events_are_the_same_if_what_they_say_is_equal() {
        let then = vec![says(json!({"score": 80, "passed": true})), feels("angry")];
        let now = vec![feels("angry"), says(json!({"passed": true, "score": 81}))];
        let expected = ["=angry", r#"+{"passed":true,"score":81}"#, r#"-{"passed":true,"score":80}"#];
        assert_eq!(compared(then, now), expected);
    }

    #[test]
    fn what_the_daemon_says_of_a_plugin_is_no_word_of_the_plugins() {
        let failed = || says(json!({"error": "too slow", "quarantined": true}));
        let then = vec![failed(), says(json!({"files": ["a.srt"]})), says(json!({"error": "x", "code": 7}))];
        assert_eq!(compared(then, Vec::new()), [r#"-{"code":7,"error":"x"}"#]);
        let expected = [r#"+{"error":"too slow","quarantined":true}"#];
        assert_eq!(compared(vec![failed()], vec![failed()]), expected);
        assert_eq!(failure(&failed().body), Some(("score", "too slow")));
    }

    #[test]
    fn what_was_said_of_partials_cannot_be_said_again() {
        let mut partial = says(json!(1));
        partial.body.set_about(About { piece: None, revision: Some(3) });
        assert_eq!(compared(vec![partial], Vec::new()), [""; 0]);
        // The confirmation of an alert may be about a partial for all that the stream tells; it was said.
        let mut alert = raised("1", "churn", 0);
        alert.body.set_about(About { piece: None, revision: Some(3) });
        assert_eq!(compared(vec![alert], Vec::new()), ["-churn"]);
    }
}
