//! The forms in which jobs, pieces and claims are persisted: JSON objects with their version number in `v`. Golden files record them.
//!
//! A newer daemon wrote a form of a newer version. Such a form is reported as newer and left alone; it is not damage.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of every persisted form. It is raised by a change that an older daemon cannot read.
pub const VERSION: u64 = 1;

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A newer daemon wrote it.
    #[error("it has version {found}, and this harkd reads {VERSION}; a newer harkd wrote it")]
    Newer { found: u64 },
    /// No daemon writes such a form.
    #[error("{0}")]
    Damaged(#[from] serde_json::Error),
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u64,
    #[serde(flatten)]
    form: &'a T,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    v: u64,
}

/// The form as JSON.
///
/// # Errors
/// When `form` cannot be a JSON object.
pub fn to_json(form: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Versioned { v: VERSION, form })
}

/// A form from JSON.
///
/// # Errors
/// [`Unreadable`]: a higher version number means a newer form, whatever else the form contains; anything else unreadable is damage.
pub fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unreadable> {
    let Head { v } = serde_json::from_slice(text)?;
    if v > VERSION {
        return Err(Unreadable::Newer { found: v });
    }
    Ok(serde_json::from_slice(text)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use hark_sdk::event::{Blame, Engine, Fault, ObjectRef, Recording, Segment, Timing};
    use jiff::Timestamp;
    use serde_json::{Map, Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::job::{
        Attempt, Cut, Delivery, Fate, FileIdentity, Halves, Job, Origin, Paid, Piece, PieceFormat,
        PieceState, Plan, Saved, Sidecar, Span, Split, Stage, StoredBefore, Ticket, Transcript,
    };

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | number)
    }

    fn time() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn job() -> Job {
        let identity = FileIdentity { dev: 1, inode: 2, size: 3, mtime_ns: 4 };
        let origin = Origin::File { root: "/srv/calls".into(), below: "a/b.wav".into(), identity };
        let recording = Recording {
            uri: "file:///srv/calls/a/b.wav".into(),
            name: Some("b.wav".into()),
            sha256: Some("00ff".into()),
            bytes: Some(3),
            format: Some("wav".into()),
            duration_ms: Some(7_400),
            channels: Some(1),
            message_id: Some("call-7".into()),
            ..Recording::default()
        };
        let metadata = Map::from_iter([("agent_id".to_owned(), json!("7"))]);
        Job {
            object: Some(ObjectRef { bucket: "HARK_UPLOADS".into(), name: "call-7".into() }),
            sidecar: Some(Sidecar {
                identity: FileIdentity { dev: 1, inode: 5, size: 2, mtime_ns: 4 },
                sha256: "ff00".into(),
            }),
            language: Some("de".into()),
            context: Some("names".into()),
            ticket: Some(Ticket { key: "HARK_AUDIO.7".into(), place: "HARK_AUDIO.7@1790".into() }),
            stored: StoredBefore { annotations: 1, has_final: true, has_speech: true },
            maybe_paid: true,
            paid: vec![Paid { first: 1, last: 7, fates: vec![Fate::Unknown, Fate::Taken] }],
            missing: true,
            hold_reported: 2,
            submitted: true,
            accepted_at: time(),
            stage: Stage::Ended { failed: true, bad_input: false },
            plan: Some(Plan {
                engine: Engine::FILETRANS,
                model: "qwen3-asr-flash-filetrans".into(),
                delivery: Delivery::Upload,
                cut: Some(Cut {
                    longest_ms: 180_000,
                    format: PieceFormat::Flac,
                    skip_silence: true,
                    misleading_header: false,
                }),
                split: Some(Split { roles: vec!["agent".into(), "customer".into()] }),
                reason: "the route asks for filetrans".into(),
            }),
            pieces: 1,
            speech_ms: Some(6_100),
            saved: Some(Saved { ms: 1_300, cost_micro: 46 }),
            speech_reported: true,
            revision: 3,
            sequence: 9,
            ..Job::new(id(1), "calls", "default", origin, recording, metadata)
        }
    }

    fn piece() -> Piece {
        let span = Span { parts: vec![(0, 2_000), (6_000, 7_400)], ..Span::whole(Some(7_400)) };
        let mut piece = Piece::new(1, span, "filetrans", "qwen3-asr-flash-filetrans");
        let fault = Fault {
            code: "TimeOut".into(),
            blame: Blame::Service,
            message: "no answer within 60 s".into(),
            attempts: None,
        };
        piece.state = PieceState::Resolving { absences: 1, until: Some(time()), fault };
        piece.failures = 2;
        piece.refused_before_sending = 1;
        piece.halves = Some(Halves { left: Some(vec![Span::part(3_700, 7_400)]), heard: vec![transcript()] });
        piece
    }

    fn attempt() -> Attempt {
        Attempt {
            handle: Some("task-1".into()),
            fate: Fate::Taken,
            billed: hark_sdk::event::Usage::seconds(8),
            cost_micro: 280,
            ..Attempt::open(1, id(2), time(), Some("object-1".into()))
        }
    }

    fn transcript() -> Transcript {
        let segment = Segment {
            begin_ms: Some(0),
            end_ms: Some(7_400),
            timing: Timing::Service,
            text: "guten Tag".into(),
            language: Some("de".into()),
            emotion: Some("neutral".into()),
            ..Segment::default()
        };
        Transcript {
            text: "guten Tag".into(),
            segments: vec![segment],
            truncated: true,
            billed: hark_sdk::event::Usage::seconds(8),
        }
    }

    /// What is persisted is public to the next version of harkd: a change here is one of the form, and may need a new version.
    /// `HARK_BLESS=1` rewrites the file.
    pub(crate) fn assert_golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
        form: &T,
        file: &str,
    ) {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        let written: Value = serde_json::from_str(&to_json(form).unwrap()).unwrap();
        if std::env::var_os("HARK_BLESS").is_some() {
            std::fs::write(&file, format!("{written:#}\n")).unwrap();
        }
        let golden = std::fs::read(&file).unwrap();
        let kept: Value = serde_json::from_slice(&golden).unwrap();
        assert_eq!(written, kept, "if the change is meant, run the test again with HARK_BLESS=1");
        assert_eq!(&from_json::<T>(&golden).unwrap(), form);
    }

    #[test]
    fn what_is_persisted_is_as_the_golden_files_have_it() {
        assert_golden(&job(), "job/golden/job.json");
        assert_golden(&piece(), "job/golden/piece.json");
        assert_golden(&attempt(), "job/golden/attempt.json");
        assert_golden(&transcript(), "job/golden/heard.json");
    }

    #[test]
    fn a_newer_form_is_told_from_damage() {
        let span = Span::whole(Some(7));
        let text = to_json(&span).unwrap();
        assert!(text.starts_with(r#"{"v":1,"#), "{text}");
        assert_eq!(from_json::<Span>(text.as_bytes()).unwrap(), span);
        let newer = from_json::<Span>(br#"{"v":2,"spans":[]}"#);
        assert!(matches!(newer, Err(Unreadable::Newer { found: 2 })), "{newer:?}");
        let damaged = from_json::<Span>(br#"{"v":1,"channels":7}"#);
        assert!(matches!(damaged, Err(Unreadable::Damaged(_))), "{damaged:?}");
    }
}
