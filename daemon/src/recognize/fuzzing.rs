//! See [`crate::fuzzing`].

pub use super::dashscope::fuzzing::{flash_stream, task};
pub use super::openai::fuzzing::own_server;

use super::error::Error;
use super::sse::Parser;
use super::{dashscope, openai, storage};

/// A stream of events. Its first byte tells how long the parts are in which the rest arrives.
///
/// # Panics
/// Where reading it does, or the parts change what is read.
pub fn sse(bytes: &[u8]) {
    let Some((part, stream)) = bytes.split_first() else { return };
    let Ok(whole) = Parser::default().push(stream) else { return };
    let (mut parser, mut events) = (Parser::default(), Vec::new());
    for part in stream.chunks(1 + usize::from(*part % 16)) {
        match parser.push(part) {
            Ok(more) => events.extend(more),
            Err(error) => panic!("the whole stream could be read: {error}"),
        }
    }
    assert_eq!(events, whole);
}

/// The body of a refusal, of the cloud's service, of an own server and of a bucket.
///
/// # Panics
/// Where reading it does, or the error could not be shown to an operator.
pub fn refusal(body: &[u8]) {
    let xml = String::from_utf8_lossy(body);
    let bucket = storage::refusal::refused(403, &xml, None, "bucket calls");
    let errors = [dashscope::fuzzing::refused(body), openai::fuzzing::refused(body), Some(bucket)];
    errors.iter().flatten().for_each(is_presentable);
}

fn is_presentable(error: &Error) {
    let message = &error.fault.message;
    assert!(message.chars().count() < 1_500 && !message.chars().any(char::is_control), "{message:?}");
}
