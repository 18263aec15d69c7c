//! Work for a plugin, and the answers of its process. Every answer is checked, since a plugin can write anything into the daemon's socket.

use std::fmt;
use std::sync::Arc;

use hark_sdk::emission::{self, Allowance, Rubbish};
use hark_sdk::event::{Body, Event};
use tokio::sync::oneshot;

use crate::pipeline::wire::{Answer, MOST_REASONS, Said, clean};

/// One event for one plugin.
#[derive(Debug)]
pub struct Work {
    /// The event, for the checks of the answer.
    pub event: Arc<Event>,
    /// `wire::event_frame` of it.
    pub frame: Arc<[u8]>,
    /// Receives the result.
    pub answer: oneshot::Sender<Result<Reply, Failure>>,
}

/// A plugin's checked answer to an event.
#[derive(Debug, Default)]
pub struct Reply {
    pub said: Vec<Body>,
    pub replaced: Option<Event>,
    /// Set if a part of the answer was refused: the number of refusals and the first reasons.
    pub refused: Option<String>,
}

/// A plugin did not process an event.
#[derive(Debug, Clone)]
pub struct Failure {
    pub message: String,
    pub quarantined: bool,
}

/// The message of a failure: the daemon's text, for the log as well, and the plugin's text, which may quote the transcript and goes only
/// into the plugin's event of the same job.
#[derive(Debug, Clone)]
pub struct Words {
    pub ours: String,
    theirs: Option<String>,
}

impl Words {
    pub fn ours(ours: String) -> Words {
        Words { ours, theirs: None }
    }

    pub fn quoting(ours: &str, theirs: String) -> Words {
        Words { ours: ours.to_owned(), theirs: Some(theirs) }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.theirs {
            Some(theirs) => write!(formatter, "{}: {theirs}", self.ours),
            None => formatter.write_str(&self.ours),
        }
    }
}

/// Reads an answer to `event` that came from the process of the plugin called `plugin`.
///
/// # Errors
/// When the plugin tried to replace the text and the replacement was refused: the event counts as failed, above all because the replacement
/// may be meant to hide something.
pub fn read(plugin: &str, transform: bool, event: &Event, answered: Answer) -> Result<Reply, Failure> {
    let mut heard = Reply::default();
    let mut reasons = answered.refused;
    let mut count = answered.refused_count.max(reasons.len() as u64);
    let mut replace_refused = answered.replace_refused;
    let mut refuse = |rubbish: Rubbish| {
        count += 1;
        if reasons.len() < MOST_REASONS {
            reasons.push(rubbish.to_string());
        }
    };
    let mut allowance = Allowance::default();
    for said in answered.said {
        let (body, json) = match said {
            Said::Emit { kind, json } => (emission::emitted(plugin, &kind, json.get().as_bytes()), json),
            Said::Annotate { name, json } => {
                (emission::annotated(plugin, &name, json.get().as_bytes()), json)
            }
        };
        match body.and_then(|body| allowance.take(&body, json.get().len()).map(|()| body)) {
            Ok(body) => heard.said.push(body),
            Err(rubbish) => refuse(rubbish),
        }
    }
    if let Some(json) = answered.replaced {
        let replaced = match transform {
            true => emission::replaced(event, json.get().as_bytes()),
            false => Err(Rubbish::NoTransform),
        };
        match replaced {
            Ok(event) => heard.replaced = Some(event),
            Err(rubbish) => {
                replace_refused = true;
                refuse(rubbish);
            }
        }
    }
    if count > 0 {
        let words: Vec<String> = reasons.iter().take(MOST_REASONS).map(|reason| clean(reason)).collect();
        let message = format!("{count} of its emissions were refused: {}", words.join("; "));
        if replace_refused {
            return Err(Failure { message, quarantined: false });
        }
        heard.refused = Some(message);
    }
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use hark_sdk::testing::transcript;
    use serde_json::value::RawValue;

    use super::*;
    use crate::pipeline::wire::Outcome;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn forged(said: Vec<Said>, replaced: Option<&str>) -> Answer {
        Answer {
            result: Outcome::Ok,
            error: None,
            said,
            replaced: replaced.map(raw),
            replace_refused: false,
            refused: Vec::new(),
            refused_count: 0,
        }
    }

    fn emit(kind: &str, json: &str) -> Said {
        Said::Emit { kind: kind.to_owned(), json: raw(json) }
    }

    #[test]
    fn what_a_process_forges_past_its_own_checks_is_refused_here() {
        let event = transcript(&["hello"]);
        let said = vec![
            emit("plugin", "1"),
            emit("job.completed", "{}"),
            emit("plugin.another", "{}"),
            emit("alert.raised", r#"{"plugin": "another"}"#),
            Said::Annotate { name: "a.b".into(), json: raw("1") },
            emit("plugin", &format!("{:?}", "x".repeat(emission::LARGEST))),
        ];
        let heard = read("me", false, &event, forged(said, None)).unwrap();
        assert_eq!(heard.said.len(), 1);
        assert!(heard.refused.unwrap().starts_with("5 of its emissions were refused"));

        let flood = (0..1_000).map(|_| emit("plugin", "1")).collect();
        let heard = read("me", false, &event, forged(flood, None)).unwrap();
        assert_eq!(heard.said.len(), emission::MOST);
        assert!(heard.refused.unwrap().starts_with("744 of its emissions were refused"));
    }

    #[test]
    fn what_is_said_of_one_event_is_bounded_by_what_it_takes_to_hold_it() {
        let numbers = format!("[{}0]", "0,".repeat(30_000));
        let text = format!("{:?}", "x".repeat(1_000_000));
        for (json, taken) in [(numbers, 2), (text, 8)] {
            let said = (0..10).map(|_| emit("plugin", &json)).collect();
            let heard = read("me", false, &transcript(&["hello"]), forged(said, None)).unwrap();
            assert_eq!(heard.said.len(), taken);
            assert!(heard.refused.is_some());
        }
    }

    #[test]
    fn only_a_transform_replaces_and_only_all_of_it() {
        let event = transcript(&["hello", "you"]);
        let whole = r#"{"text": "x y", "segments": ["x", "y"]}"#;
        let failure = read("me", false, &event, forged(Vec::new(), Some(whole))).unwrap_err();
        assert!(failure.message.contains("declares itself a transform"), "{failure:?}");
        assert!(read("me", true, &event, forged(Vec::new(), Some(whole))).unwrap().replaced.is_some());
        assert!(read("me", true, &event, forged(Vec::new(), Some(r#"{"text": "x"}"#))).is_err());
    }
}
