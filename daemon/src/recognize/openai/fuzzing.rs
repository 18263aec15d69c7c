//! See [`crate::fuzzing`].

use super::dialects;
use super::incoming::Incoming;
use super::refusal::Refusal;
use crate::recognize::error::Error;
use crate::recognize::sse::Parser;

/// An answer of an own server, as a whole and as a stream.
///
/// # Panics
/// Where reading it does, or a segment lies outside of the audio.
pub fn own_server(bytes: &[u8]) {
    transcript(|incoming| dialects::read(bytes).is_ok_and(|said| incoming.take(said).is_ok()));
    transcript(|incoming| {
        let events = Parser::default().push(bytes).unwrap_or_default();
        events.iter().all(|event| incoming.take_event(event).is_ok())
    });
}

fn transcript(take: impl FnOnce(&mut Incoming) -> bool) {
    const AUDIO: u64 = 2_000;
    let mut incoming = Incoming::default();
    if take(&mut incoming) && incoming.finish().is_ok() {
        let transcript = incoming.into_transcript(Some(AUDIO), None);
        for segment in &transcript.segments {
            let times = segment.begin_ms.zip(segment.end_ms);
            assert!(times.is_some_and(|(begin, end)| begin <= end && end <= AUDIO), "{segment:?}");
        }
    }
}

/// The error that a refusal with this body leads to.
pub(in crate::recognize) fn refused(body: &[u8]) -> Option<Error> {
    let recognizer =
        r#"{"name": "gpu", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "whisper-1"}"#;
    serde_json::from_str(recognizer).ok().map(|recognizer| Refusal::of_body(body).into_error(&recognizer))
}
