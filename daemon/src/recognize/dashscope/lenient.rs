//! Converts deviating answers into the documented form, before the typed readers. Each deviation here names its source.

use std::borrow::Cow;

use crate::recognize::sse::Parser;

/// The JSON of a refusal. In production a request for a stream was refused with an HTTP status other than 200 and the body `event:error …
/// data:{…}` (observed; both SDKs of the provider read that form).
pub(super) fn refusal(body: &[u8]) -> Cow<'_, [u8]> {
    // An empty line completes an event that the body leaves incomplete.
    let events = Parser::default().push(&[body, b"\n\n"].concat()).unwrap_or_default();
    match events.into_iter().next() {
        Some(event) => Cow::Owned(event.data.into_bytes()),
        None => Cow::Borrowed(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_in_an_event_is_its_data_and_any_other_is_itself() {
        let event = b"id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"Arrearage\"}\n";
        assert_eq!(&*refusal(event), b"{\"code\":\"Arrearage\"}");
        for body in [&b"{\"code\":\"Arrearage\"}"[..], b"<html>", b""] {
            assert_eq!(&*refusal(body), body);
        }
    }
}
