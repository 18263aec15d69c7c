//! Whether an answer of 2xx is a stream or one piece of JSON.

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;

use super::client::Client;
use crate::recognize::error::Error;
use crate::recognize::http::{EVENT_STREAM, JSON};

/// Blank bytes before a body, after which its label tells what it is.
const LONGEST_BLANK: usize = 64;

/// What a body is, and what was read of it to tell: no more than that, for a stream is heard while it comes.
pub(super) struct Begun {
    pub(super) is_stream: bool,
    pub(super) bytes: Vec<u8>,
}

/// Reads as much of an answer as tells its form; `streamed`: it was asked for as a stream.
pub(super) async fn begin(client: &Client, response: &mut Response, streamed: bool) -> Result<Begun, Error> {
    let labelled = says_stream(response, streamed);
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST_BLANK && first(&bytes).is_none() {
        match client.http.chunk(response).await? {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok(Begun { is_stream: is_stream(first(&bytes), labelled), bytes })
}

/// The first byte that is neither white space nor of a byte order mark.
fn first(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte))
}

/// Gateways label streams as JSON and the other way round. An object begins with a brace; a stream with a comment or one of its
/// fields (`data`, `event`, `id`, `retry`), as no JSON does. Anything else is what its label says.
fn is_stream(first: Option<u8>, labelled: bool) -> bool {
    match first {
        Some(b'{') => false,
        Some(b':' | b'd' | b'e' | b'i' | b'r') => true,
        _ => labelled,
    }
}

/// What was asked for as a stream and does not say that it is JSON says that it is one.
fn says_stream(response: &Response, streamed: bool) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().trim_start().to_ascii_lowercase();
    content_type.starts_with(EVENT_STREAM) || streamed && !content_type.starts_with(JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_it_begins_like_and_else_what_its_label_says() {
        for (body, stream) in [
            ("{\"output\":{}}", Some(false)),
            ("\u{feff} \r\n{", Some(false)),
            ("data:{}", Some(true)),
            ("\u{feff}id:1", Some(true)),
            ("\n\n: working", Some(true)),
            ("event:result", Some(true)),
            ("retry:5", Some(true)),
            ("<html>", None),
            ("[]", None),
            ("\u{feff}\n", None),
            ("", None),
        ] {
            for labelled in [true, false] {
                let is = is_stream(first(body.as_bytes()), labelled);
                assert_eq!(is, stream.unwrap_or(labelled), "{body}");
            }
        }
    }
}
