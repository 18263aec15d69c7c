//! Work for a plugin, and the answers of its process. Every answer is checked, since a plugin can write anything into the daemon's socket.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hark_sdk::emission::{self, Allowance, File, Rubbish};
use hark_sdk::event::{Body, Event};
use tokio::sync::oneshot;

use crate::pipeline::wire::{Answer, Emitted, clean};

/// One event for one plugin.
#[derive(Debug)]
pub struct Work {
    pub event: Arc<Event>,
    /// Receives the result.
    pub answer: oneshot::Sender<Result<Reply, Failure>>,
}

/// A plugin's checked answer to an event.
#[derive(Debug, Default)]
pub struct Reply {
    pub said: Vec<Body>,
    pub replaced: Option<Event>,
    pub files: Vec<File>,
    /// Set if a part of what the plugin emitted was refused: the number of refusals and the first reasons.
    pub refused: Option<String>,
}

/// A plugin did not process an event.
#[derive(Debug, Clone)]
pub struct Failure {
    pub message: String,
    pub quarantined: bool,
}

/// Checks an answer to `event` that came from the process of the plugin called `plugin`.
///
/// # Errors
/// When `plugin-host` would have refused a part of it: so the plugin itself wrote the answer.
pub fn check(plugin: &str, transform: bool, event: &Event, answer: Answer) -> Result<Reply, Rubbish> {
    let mut reply = Reply { refused: answer.refused.map(|refused| clean(&refused)), ..Reply::default() };
    let mut allowance = Allowance::default();
    for said in answer.said {
        let (body, json) = match said {
            Emitted::Emit { kind, json } => (emission::emitted(plugin, &kind, json.get().as_bytes()), json),
            Emitted::Annotate { name, json } => {
                (emission::annotated(plugin, &name, json.get().as_bytes()), json)
            }
        };
        let body = body?;
        allowance.take(&body, json.get().len())?;
        reply.said.push(body);
    }
    for (suffix, base64) in answer.files {
        let bytes = BASE64_STANDARD.decode(base64).map_err(|_| Rubbish::Suffix(suffix.clone()))?;
        emission::add_file(&mut reply.files, &event.kind(), &suffix, bytes)?;
    }
    if let Some(json) = answer.replaced {
        if !transform {
            return Err(Rubbish::NoTransform);
        }
        reply.replaced = Some(emission::replaced(event, json.get().as_bytes())?);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use hark_sdk::testing::transcript;
    use serde_json::value::RawValue;

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn emit(kind: &str, json: &str) -> Emitted {
        Emitted::Emit { kind: kind.to_owned(), json: raw(json) }
    }

    fn forged(said: Vec<Emitted>) -> Result<Reply, Rubbish> {
        check("me", false, &transcript(&["hello"]), Answer { said, ..Answer::default() })
    }

    #[test]
    fn what_a_process_forges_past_its_own_checks_is_refused_here() {
        assert_eq!(forged(vec![emit("plugin", "1")]).unwrap().said.len(), 1);
        for said in [
            emit("job.completed", "{}"),
            emit("plugin.another", "{}"),
            emit("alert.raised", r#"{"plugin": "another"}"#),
            Emitted::Annotate { name: "a.b".into(), json: raw("1") },
            emit("plugin", &format!("{:?}", "x".repeat(emission::LARGEST))),
        ] {
            assert!(forged(vec![said]).is_err());
        }
    }

    #[test]
    fn what_is_said_of_one_event_is_bounded_by_what_it_takes_to_hold_it() {
        let numbers = format!("[{}0]", "0,".repeat(30_000));
        let text = format!("{:?}", "x".repeat(1_000_000));
        for (json, most) in [("1", emission::MOST), (&numbers, 2), (&text, 8)] {
            let said = |count| (0..count).map(|_| emit("plugin", json)).collect();
            assert_eq!(forged(said(most)).unwrap().said.len(), most);
            assert!(forged(said(most + 1)).is_err());
        }
    }

    #[test]
    fn only_a_transform_replaces_and_only_all_of_it() {
        let event = transcript(&["hello", "you"]);
        let replaced = |transform, json| {
            check("me", transform, &event, Answer { replaced: Some(raw(json)), ..Answer::default() })
        };
        let whole = r#"{"text": "x y", "segments": ["x", "y"]}"#;
        assert!(matches!(replaced(false, whole), Err(Rubbish::NoTransform)));
        assert!(replaced(true, whole).unwrap().replaced.is_some());
        assert!(replaced(true, r#"{"text": "x"}"#).is_err());
    }
}
