//! Appends one event to the stream, directly after its job's preceding event.

use std::error::Error;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;

use super::stream::{NO_ROOM, find};
use super::{JetStream, Refused};

/// Where an event has to be appended.
#[derive(Debug, Clone, Copy)]
pub struct Position<'a> {
    /// The stream of events.
    pub stream: &'a str,
    /// The subjects of all events of its job.
    pub of_job: &'a str,
    /// The stream sequence of the job's preceding event; 0 if there is none.
    pub expected: u64,
}

/// Why an event was not stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Error 10071: the job's newest event in the stream is not the expected one.
    #[error("the stream has another event at the job's next place")]
    OutOfOrder,
    /// No stream captures its subject.
    #[error("no stream captures the subject of the event (expected: stream {0})")]
    NoStream(String),
    /// It is larger than the stream's limit.
    #[error("{0}")]
    TooLarge(String),
    /// The user has no right to publish it.
    #[error(transparent)]
    Denied(#[from] Refused),
    /// Any other failure; a retry may succeed.
    #[error("{0}")]
    NotNow(String),
}

/// Stores an event, and returns its stream sequence. The server refuses the event if the job's last event is not the expected one.
///
/// # Errors
/// Why the event was not stored, as far as is known.
pub async fn append(
    jetstream: &JetStream,
    position: Position<'_>,
    subject: &str,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<u64, AppendError> {
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, position.expected.to_string());
    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", position.of_job);
    headers.insert(NATS_EXPECTED_STREAM, position.stream);
    let message = PublishMessage::build().headers(headers).payload(body);
    let named = format!("\"{subject}\"");
    let publish = async { jetstream.send_publish(subject.to_owned(), message).await?.await };
    match jetstream.unless_refused(&[&named], publish).await? {
        Ok(stored) => Ok(stored.sequence),
        Err(error) => Err(Box::pin(reason(jetstream, position.stream, &error)).await),
    }
}

/// The server's own message, and what its operator can do.
async fn reason(jetstream: &JetStream, stream: &str, error: &PublishError) -> AppendError {
    let refusal = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), refusal) {
        (PublishErrorKind::WrongLastSequence, _) => AppendError::OutOfOrder,
        (PublishErrorKind::StreamNotFound, _) => AppendError::NoStream(stream.to_owned()),
        (PublishErrorKind::TimedOut, _) => match find(jetstream, stream).await {
            // If another client subscribes to the subject, the server does not report that no stream captures it.
            Ok(None) => AppendError::NoStream(stream.to_owned()),
            // With a full disk, nats-server 2.15.1 does not answer at all, even when there is room again.
            _ => AppendError::NotNow(format!(
                "the stream {stream} acknowledges nothing; see the nats-server's log: a stream whose disk was full stands still until the \
                 server is restarted"
            )),
        },
        (_, Some(refusal)) if refusal.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            AppendError::TooLarge(error.to_string())
        }
        (_, Some(refusal)) if NO_ROOM.contains(&refusal.error_code()) => AppendError::NotNow(format!(
            "the stream {stream} takes no more: {refusal}; raise its limits or the account's, or make room on the disk of the nats-server's \
             store"
        )),
        _ => AppendError::NotNow(error.to_string()),
    }
}
