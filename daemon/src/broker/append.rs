//! Appends one event to the stream, directly after its job's preceding event.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

use super::{JetStream, Refused};

/// Where an event has to be appended.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
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
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Stores an event, and returns its stream sequence. The server refuses the event if the job's last event is not the expected one.
///
/// # Errors
/// The stream's error, and the server's refusal of a user without the right.
pub async fn append(
    jetstream: &JetStream,
    place: Place<'_>,
    subject: &str,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<u64, AppendError> {
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, place.expected.to_string());
    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", place.of_job);
    headers.insert(NATS_EXPECTED_STREAM, place.stream);
    let message = PublishMessage::build().headers(headers).payload(body);
    let named = format!("\"{subject}\"");
    let publish = async { jetstream.send_publish(subject.to_owned(), message).await?.await };
    Ok(jetstream.unless_refused(&[&named], publish).await??.sequence)
}
