//! See [`crate::fuzzing`].

use std::sync::LazyLock;

use hark_sdk::event::Usage;
use serde::de::DeserializeOwned;

use super::answers::{Answer, PolicyAnswer, Submitted, Task, TaskList};
use super::client::Client;
use super::result::ResultFile;
use super::transcript::Reading;
use super::{audio3, lenient, qwen3};
use crate::config::{Dashscope, Secret};
use crate::job::{Transcript, persisted};
use crate::recognize::error::Error;
use crate::recognize::http::{Key, Timeouts};
use crate::recognize::sse::Parser;

/// It connects to nothing.
static CLIENT: LazyLock<Option<Client>> = LazyLock::new(|| {
    let config = Dashscope { base_url: "http://127.0.0.1:9/api/v1".into(), ..Dashscope::default() };
    Client::new(&config, Key::new(Secret::new("fuzzed"), None), Timeouts::default()).ok()
});

/// A stream of flash, as of both families.
///
/// # Panics
/// Where reading it does, or its transcript cannot be stored.
pub fn flash_stream(bytes: &[u8]) {
    stream::<qwen3::FlashAnswer>(bytes);
    stream::<audio3::FlashAnswer>(bytes);
}

fn stream<R: Reading>(bytes: &[u8]) {
    let mut reading = R::default();
    for event in Parser::default().push(bytes).unwrap_or_default() {
        let status = event.comment.strip_prefix("HTTP_STATUS/").and_then(|status| status.parse().ok());
        let Some(answer) = parse(event.data.as_bytes(), status) else { break };
        reading.add(answer);
    }
    if reading.is_complete(false) {
        storable(&reading.into_transcript(Some(2_000)));
    }
}

/// A JSON answer about a task, an upload, or the file with a task's result.
///
/// # Panics
/// Where reading it does, or its transcript cannot be stored.
pub fn task(json: &[u8]) {
    parse::<Answer<Submitted>>(json, None);
    parse::<Answer<Task>>(json, None);
    parse::<PolicyAnswer>(json, None);
    let rows = parse::<TaskList>(json, None).and_then(TaskList::rows);
    for row in rows.iter().flatten() {
        row.created();
    }
    if let Ok(result) = serde_json::from_slice::<ResultFile>(json) {
        storable(&result.into_transcript(Usage::seconds(2)));
    }
}

/// The error that a refusal with this body leads to.
pub(in crate::recognize) fn refused(body: &[u8]) -> Option<Error> {
    CLIENT.as_ref()?.refused(&lenient::refusal(body), Some(400), None)
}

fn parse<T: DeserializeOwned>(json: &[u8], status: Option<u16>) -> Option<T> {
    CLIENT.as_ref()?.parse(json, status).ok()
}

fn storable(transcript: &Transcript) {
    let stored =
        persisted::to_json(transcript).map(|json| persisted::from_json::<Transcript>(json.as_bytes()));
    assert!(matches!(&stored, Ok(Ok(read)) if read == transcript), "{stored:?}");
}
