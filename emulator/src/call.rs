//! One request from its first header to its line in the journal.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use crate::journal::{Entry, Kind};
use crate::refusal::Refusal;
use crate::service::Service;

/// A request under way. Handlers note in `entry` what they learn; [`Call::finish`] writes it down.
pub struct Call {
    pub entry: Entry,
    /// Whether the answer is to be a stream of events.
    pub event_stream: bool,
    /// The whole key: tasks and uploads belong to it.
    pub key: String,
}

impl Call {
    /// Numbers the request and notes whose it is.
    pub fn begin(kind: Kind, parts: &Parts) -> Call {
        let request_id = uuid::Uuid::now_v7().to_string();
        let mut entry = Entry::new(kind, &request_id);
        let key = bearer(&parts.headers).unwrap_or_default().to_owned();
        if !key.is_empty() {
            entry.key = Some(masked(&key));
        }
        Call { entry, event_stream: header_is(&parts.headers, "x-dashscope-sse", "enable"), key }
    }

    /// 401 unless the request carries a key of this region.
    pub fn authorize(&self, service: &Service) -> Result<(), Refusal> {
        let message = match self.key.as_str() {
            "" => "No API-key provided.",
            key if !service.knows_key(key) => "Invalid API-key provided.",
            _ => return Ok(()),
        };
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "InvalidApiKey", message))
    }

    /// Writes the journal line, then lets the answer go.
    pub fn finish(mut self, service: &Service, result: Result<Response, Refusal>) -> Response {
        let mut response = match result {
            Ok(response) => response,
            Err(refusal) => {
                self.entry.outcome = refusal.code.clone();
                self.entry.charged_seconds = None;
                refusal.respond(&self.entry.request_id, self.event_stream)
            }
        };
        self.entry.http_status = Some(response.status().as_u16());
        service.journal.write(&self.entry);
        if let Ok(request_id) = HeaderValue::from_str(&self.entry.request_id) {
            response.headers_mut().insert("x-request-id", request_id);
        }
        response
    }
}

/// Whether a header is there with this value, whatever its case.
pub fn header_is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers
        .get(name)
        .and_then(|found| found.to_str().ok())
        .is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

/// Enough of a key to tell two apart, too little to use it.
fn masked(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    match letters.as_slice() {
        [first @ .., a, b, c, d] if first.len() >= 8 => {
            format!("{}…{a}{b}{c}{d}", first[..3].iter().collect::<String>())
        }
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_key_cannot_be_used() {
        assert_eq!(masked("sk-0123456789abcdef"), "sk-…cdef");
        assert_eq!(masked("sk-short"), "…");
    }
}
