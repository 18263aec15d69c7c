//! Converts deviating answers into the documented form, before the typed readers. Each deviation here names its source.

use std::borrow::Cow;

use crate::recognize::sse::Parser;

/// The JSON of a refusal. In production a request for a stream was refused with an HTTP status other than 200 and the body `event:error …
/// data:{…}` (dashscope-protocol.md 2, "Errors with SSE asked for"; both SDKs read that form).
pub(super) fn refusal(body: &[u8]) -> Cow<'_, [u8]> {
    let mut parser = Parser::new();
    let events = parser.push(body).unwrap_or_default();
    let event = events.into_iter().next().or_else(|| parser.finish());
    match event {
        Some(event) if !event.data.is_empty() => Cow::Owned(event.data.into_bytes()),
        _ => Cow::Borrowed(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_in_an_event_is_its_data_and_any_other_is_itself() {
        let event = b"id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"Arrearage\"}\n\n";
        assert_eq!(&*refusal(event), b"{\"code\":\"Arrearage\"}");
        for body in [&b"{\"code\":\"Arrearage\"}"[..], b"<html>", b""] {
            assert_eq!(&*refusal(body), body);
        }
    }
}
