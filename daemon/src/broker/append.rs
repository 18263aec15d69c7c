//! One event into the stream, behind its predecessor and nowhere else.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

/// Where an event belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The stream of events.
    pub stream: &'a str,
    /// The subjects of all events of its job.
    pub of_job: &'a str,
    /// The stream sequence of the job's event before it; 0 for none.
    pub expected: u64,
}

/// Stores an event, and gives its stream sequence. The server refuses it where the job's last event is another than expected.
pub async fn append(
    context: &Context,
    place: Place<'_>,
    subject: String,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<u64, PublishError> {
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, place.expected.to_string());
    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", place.of_job);
    headers.insert(NATS_EXPECTED_STREAM, place.stream);
    let message = PublishMessage::build().headers(headers).payload(body);
    Ok(context.send_publish(subject, message).await?.await?.sequence)
}
