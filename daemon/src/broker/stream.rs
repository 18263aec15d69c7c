//! Streams that the daemon needs: created if absent, never altered if they exist.

use std::future::Future;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{self, Stream, SubjectTransform};
use tracing::{info, warn};

use super::{JetStream, Refused};

/// A smaller reservation is not worth requesting: about an hour of events of a busy source.
const SMALLEST_RESERVATION: i64 = 64 << 20;

/// What to do where another stream has subjects of one that is to be created.
pub const OVERLAP: &str =
    "take those subjects out of the other stream, or name it in nats.audio_stream or nats.events_stream";

/// Why a stream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("NATS is not connected: {reason}")]
    NotConnected { reason: String },
    #[error("the nats-server is {found}, Hark needs {needed} or newer")]
    TooOld { found: String, needed: String },
    #[error("JetStream is not answering ({reason}); {remedy}")]
    NoJetStream { reason: String, remedy: String },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("creating the stream {name}: {reason}; {remedy}")]
    Create { name: String, reason: String, remedy: &'static str },
    #[error(
        "the stream {name} does not capture {subject}; add the subject to the stream, or name another stream"
    )]
    DoesNotCapture { name: String, subject: String },
    #[error(
        "the stream {name} {why}, so events would be lost or stored twice; make it without that, as the manual has it, or name another stream \
         in nats.events_stream"
    )]
    LosesEvents { name: String, why: String },
    #[error(
        "the stream {name} captures partials as well ({subject}), which stand between the events that it has to keep in order; give it the \
         subjects of the manual, or name another stream"
    )]
    TakesPartials { name: String, subject: String },
}

/// The stream of this name, created as `wanted` if absent.
///
/// # Errors
/// When JetStream does not answer, or the stream is absent and cannot be created.
pub async fn ensure(jetstream: &JetStream, wanted: stream::Config) -> Result<Stream, StreamError> {
    match find(jetstream, &wanted.name).await? {
        Some(stream) => Ok(stream),
        None => create(jetstream, wanted).await,
    }
}

/// The stream of this name, if there is one.
///
/// # Errors
/// When JetStream does not answer.
pub async fn find(jetstream: &JetStream, name: &str) -> Result<Option<Stream>, StreamError> {
    let named = format!(".STREAM.INFO.{name}\"");
    match jetstream.unless_refused(&[&named], jetstream.get_stream(name)).await? {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            _ => Err(jetstream.silent(error)),
        },
    }
}

/// The first of these subjects that a stream has, wildcards included, and that stream. `None` also where the server does not tell.
pub async fn stream_of(jetstream: &JetStream, subjects: &[String]) -> Option<(String, String)> {
    for subject in subjects {
        let named = jetstream.stream_by_subject(subject);
        if let Ok(Ok(name)) = jetstream.unless_refused(&[".STREAM.NAMES\""], named).await {
            return Some((subject.clone(), name));
        }
    }
    None
}

/// Whether the stream may contain messages under `subject`, wildcards included. For a stream that is fed from other streams, this cannot be
/// decided here, and is assumed.
///
/// # Errors
/// [`StreamError::DoesNotCapture`].
pub fn captures(config: &stream::Config, subject: &str) -> Result<(), StreamError> {
    let is_fed =
        config.mirror.is_some() || config.sources.as_ref().is_some_and(|sources| !sources.is_empty());
    if is_fed || stored_under(config).iter().any(|pattern| covers(pattern, subject)) {
        return Ok(());
    }
    Err(StreamError::DoesNotCapture { name: config.name.clone(), subject: subject.to_owned() })
}

/// The subjects under which a stream stores what is published to it: its own, and the destination of its transform in place of the subjects
/// that the transform takes.
fn stored_under(config: &stream::Config) -> Vec<String> {
    let Some(SubjectTransform { source, destination }) = &config.subject_transform else {
        return config.subjects.clone();
    };
    let source = if source.is_empty() { ">" } else { source };
    let mut patterns = Vec::new();
    for subject in &config.subjects {
        let is_whole = covers(source, subject);
        if is_whole || covers(subject, source) {
            patterns.push(pattern_of(destination));
        }
        if !is_whole {
            patterns.push(subject.clone());
        }
    }
    patterns
}

/// A transform's destination with wildcards in place of its functions, some of which produce several tokens.
fn pattern_of(destination: &str) -> String {
    if ["split", "slice"].iter().any(|function| destination.to_lowercase().contains(function)) {
        return ">".to_owned();
    }
    // A function may have spaces, and no dots: `{{partition(3, 1)}}`.
    let is_made = |token: &str| token.contains("{{") || token.starts_with('$');
    let tokens: Vec<&str> =
        destination.split('.').map(|token| if is_made(token) { "*" } else { token }).collect();
    tokens.join(".")
}

/// Whether every subject that matches `subject` matches `pattern` as well.
pub fn covers(pattern: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in pattern.split('.') {
        match (token, subject.next()) {
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

async fn create(jetstream: &JetStream, mut wanted: stream::Config) -> Result<Stream, StreamError> {
    let asked = wanted.max_bytes;
    let named = format!(".STREAM.CREATE.{}\"", wanted.name);
    loop {
        match jetstream.unless_refused(&[&named], jetstream.create_stream(wanted.clone())).await? {
            Ok(stream) => {
                info!(stream = wanted.name, max_bytes = wanted.max_bytes, "stream created");
                if wanted.max_bytes != asked {
                    warn!(
                        stream = wanted.name,
                        asked,
                        granted = wanted.max_bytes,
                        "the nats-server reserves less than was asked for; give its JetStream more room"
                    );
                }
                return Ok(stream);
            }
            Err(error) if is_one_of(&error, &NO_ROOM) && wanted.max_bytes / 2 >= SMALLEST_RESERVATION => {
                wanted.max_bytes /= 2
            }
            // Another daemon was quicker: the stream that it created is used.
            Err(error) => {
                return jetstream.get_stream(&wanted.name).await.map_err(|_| StreamError::Create {
                    name: wanted.name.clone(),
                    reason: error.to_string(),
                    remedy: remedy(&error),
                });
            }
        }
    }
}

/// What the server answers when it has no room. It also reserves `max_bytes` at creation, and refuses a stream for which it has no space.
pub(super) const NO_ROOM: [ErrorCode; 6] = [
    ErrorCode::STREAM_STORE_FAILED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
];

fn is_one_of(error: &CreateStreamError, codes: &[ErrorCode]) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(reason) if codes.contains(&reason.error_code()))
}

/// What the operator can do about a stream, or a bucket, that the server refuses to create.
pub fn remedy(refused: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut causes = std::iter::successors(Some(refused), |error| error.source());
    let create = causes.find_map(|error| error.downcast_ref::<CreateStreamError>());
    let is = |codes: &[ErrorCode]| create.is_some_and(|error| is_one_of(error, codes));
    if is(&NO_ROOM) || is(&[ErrorCode::MAXIMUM_STREAMS_LIMIT]) {
        "raise JetStream's limits of the server or of this account, or make room in them"
    } else if is(&[ErrorCode::STREAM_SUBJECT_OVERLAP]) {
        OVERLAP
    } else {
        "create it by hand, or give this user the right to"
    }
}

/// How often the log repeats that an operation still fails.
const REMINDER: std::time::Duration = std::time::Duration::from_secs(60);

/// Retries until the operation succeeds; the first failure and every change of its reason are logged, and a reminder every minute.
pub async fn until_it_works<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    report: impl Fn(Result<(), String>),
    mut attempt: impl FnMut() -> F,
) -> T {
    let (mut said, mut said_at) = (String::new(), std::time::Instant::now());
    let mut pause = std::time::Duration::from_millis(100);
    loop {
        match attempt().await {
            Ok(value) => {
                report(Ok(()));
                return value;
            }
            Err(error) => {
                let reason = error.to_string();
                if reason != said || said_at.elapsed() >= REMINDER {
                    warn!(what, reason, "an operation does not work yet; trying again");
                    (said, said_at) = (reason.clone(), std::time::Instant::now());
                }
                report(Err(reason));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(std::time::Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::context::{CreateKeyValueError, CreateKeyValueErrorKind};

    use super::*;

    #[test]
    fn what_a_server_has_no_room_for_asks_for_room_and_not_for_rights() {
        for (code, remedied) in [
            (10047, "limits"),
            (10023, "limits"),
            (10002, "limits"),
            (10027, "limits"),
            (10122, "limits"),
            (10065, "other stream"),
            (10058, "right"),
        ] {
            let error = format!(r#"{{"code": 500, "err_code": {code}, "description": "insufficient"}}"#);
            let refused = || {
                CreateStreamError::new(CreateStreamErrorKind::JetStream(
                    serde_json::from_str(&error).unwrap(),
                ))
            };
            assert!(remedy(&refused()).contains(remedied), "{code}");
            let bucket = CreateKeyValueError::with_source(CreateKeyValueErrorKind::BucketCreate, refused());
            assert!(remedy(&bucket).contains(remedied), "{code} of a bucket");
        }
    }

    #[test]
    fn a_stream_captures_what_stands_in_it_after_its_transform_and_may_hold_what_others_feed_it() {
        let of = |subjects: &[&str], transform: Option<(&str, &str)>| stream::Config {
            subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
            subject_transform: transform.map(|(source, destination)| SubjectTransform {
                source: source.into(),
                destination: destination.into(),
            }),
            ..stream::Config::default()
        };
        let captured = |config: &stream::Config| captures(config, "hark.audio.inbox").is_ok();
        for (config, expected) in [
            (of(&["hark.audio.>"], None), true),
            (of(&["calls.>"], None), false),
            (of(&["calls.>"], Some(("calls.>", "hark.audio.>"))), true),
            (of(&["calls.*"], Some(("calls.*", "hark.audio.{{wildcard(1)}}"))), true),
            (of(&["calls.*"], Some(("calls.*", "hark.$1.inbox"))), true),
            (of(&["calls.*"], Some(("", "hark.audio.inbox"))), true),
            (of(&["calls.*"], Some(("calls.*", "{{split(1,-)}}"))), true),
            (of(&["hark.audio.>"], Some(("hark.audio.>", "other.>"))), false),
            (of(&["hark.audio.>", "calls.>"], Some(("calls.>", "other.>"))), true),
        ] {
            assert_eq!(captured(&config), expected, "{config:?}");
        }
        let source = stream::Source { name: "CALLS".into(), ..stream::Source::default() };
        assert!(captured(&stream::Config { sources: Some(vec![source.clone()]), ..of(&[], None) }));
        assert!(captured(&stream::Config { mirror: Some(source), ..of(&[], None) }));
        assert!(!captured(&stream::Config { sources: Some(Vec::new()), ..of(&[], None) }));
    }

    #[test]
    fn a_pattern_covers_what_it_matches_and_narrower_patterns() {
        for (pattern, subject, expected) in [
            ("hark.audio.>", "hark.audio.inbox", true),
            ("hark.audio.>", "hark.audio.a.b", true),
            ("hark.audio.>", "hark.audio", false),
            ("hark.audio.*", "hark.audio.inbox", true),
            ("hark.audio.*", "hark.audio.>", false),
            ("hark.audio.*", "hark.audio.*", true),
            ("hark.audio.inbox", "hark.audio.*", false),
            (">", "anything", true),
            ("a.b", "a.b.c", false),
        ] {
            assert_eq!(covers(pattern, subject), expected, "{pattern} {subject}");
        }
    }
}
