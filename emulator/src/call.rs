//! One request from its first header to its line in the journal, with the faults that apply to it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::faults::wire::{self, Wire};
use crate::faults::{Fault, FaultKind, Fired};
use crate::journal::{Entry, Kind};
use crate::refusal::Refusal;
use crate::service::Service;

/// A request under way. Handlers record in `entry` what they learn; [`Call::finish`] writes the journal line.
pub struct Call {
    pub entry: Entry,
    /// Whether the answer is to be a stream of events.
    pub event_stream: bool,
    pub fired: Fired,
    service: Arc<Service>,
    key: String,
    wire: Wire,
}

impl Call {
    /// Numbers the request, records its key and draws its faults. `Err` is the answer if a fault ends the request before its handler.
    pub fn begin(service: &Arc<Service>, kind: Kind, parts: &Parts) -> Result<Call, Box<Response>> {
        let request_id = uuid::Uuid::now_v7().to_string();
        let event_stream = header_is(&parts.headers, "x-dashscope-sse", "enable");
        let fired = service.faults.draw(kind, event_stream);
        let key = bearer(&parts.headers).unwrap_or_default().to_owned();
        let mut entry = Entry::new(kind, &request_id);
        entry.faults = fired.names();
        entry.key = (!key.is_empty()).then(|| masked(&key));
        let wire = parts.extensions.get::<ConnectInfo<Wire>>().map(|info| info.0.clone()).unwrap_or_default();
        let call = Call { entry, event_stream, fired, service: Arc::clone(service), key, wire };
        call.refuse_by_fault()
    }

    /// 401 unless the request carries a key of this region.
    pub fn authorize(&self) -> Result<(), Refusal> {
        let message = match self.key.as_str() {
            "" => "No API-key provided.",
            key if !self.service.knows_key(key) => "Invalid API-key provided.",
            _ => return Ok(()),
        };
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "InvalidApiKey", message))
    }

    /// Writes the journal line, then sends the answer, or the part of the answer that the faults do not cut.
    pub async fn finish(mut self, result: Result<Response, Refusal>) -> Response {
        let response = match result {
            Ok(response) => response,
            Err(refusal) => {
                self.entry.outcome = refusal.code.clone();
                self.entry.charged_seconds = None;
                refusal.respond(&self.entry.request_id, self.event_stream)
            }
        };
        self.answer(response).await
    }

    /// As [`Call::finish`] for answers that are not refusals in JSON; the entry's outcome is kept.
    pub async fn answer(mut self, mut response: Response) -> Response {
        let dropped = self.fired.has(FaultKind::DropAnswer);
        self.entry.http_status = (!dropped).then(|| response.status().as_u16());
        self.service.journal.write(&self.entry);
        if let Ok(request_id) = HeaderValue::from_str(&self.entry.request_id) {
            response.headers_mut().insert("x-request-id", request_id);
        }
        if dropped {
            self.wire.reset();
            return response;
        }
        if let Some(stall) = self.fired.get(FaultKind::Stall).filter(|stall| stall.after_events.is_none()) {
            tokio::time::sleep(stall.time()).await;
        }
        if self.fired.has(FaultKind::Garbage) && response.status().is_success() {
            *response.body_mut() = Body::from(GARBAGE);
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        if self.fired.has(FaultKind::SplitBytes) {
            response = with_body(response, wire::split);
        }
        if let Some(fault) = self.fired.get(FaultKind::CutAnswer) {
            response = with_body(response, |body| wire::cut(body, fault.after_bytes, self.wire.clone()));
        }
        response
    }

    fn refuse_by_fault(mut self) -> Result<Call, Box<Response>> {
        if self.fired.has(FaultKind::Reset) {
            self.entry.outcome = "reset".to_owned();
            self.service.journal.write(&self.entry);
            self.wire.reset();
            return Err(Box::default());
        }
        let Some((refusal, html)) = refusal_of(&self.fired) else { return Ok(self) };
        self.entry.outcome = refusal.code.clone();
        self.entry.http_status = Some(refusal.status.as_u16());
        self.service.journal.write(&self.entry);
        if html {
            let page = format!("<html><body><h1>{}</h1></body></html>", refusal.status);
            return Err(Box::new(
                (refusal.status, [(header::CONTENT_TYPE, "text/html")], page).into_response(),
            ));
        }
        Err(Box::new(refusal.respond(&self.entry.request_id, self.event_stream)))
    }
}

/// Finishes the work even if the client goes away: the service does the work, and charges for it, in that case too.
pub async fn to_the_end(work: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(work).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request could not be finished");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Whether a header is there with this value, whatever its case.
pub fn header_is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers
        .get(name)
        .and_then(|found| found.to_str().ok())
        .is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
}

/// The refusal that a fault prescribes, and whether to send it as an HTML page.
fn refusal_of(fired: &Fired) -> Option<(Refusal, bool)> {
    let make = |fault: &Fault, status: u16, code: &str, message: &str| {
        let status =
            StatusCode::from_u16(fault.status.unwrap_or(status)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut refusal = Refusal::new(status, fault.code.as_deref().unwrap_or(code), message);
        refusal.retry_after = fault.retry_after;
        (refusal, fault.html)
    };
    if let Some(fault) = fired.get(FaultKind::BadKey) {
        return Some(make(fault, 401, "InvalidApiKey", "Invalid API-key provided."));
    }
    if let Some(fault) = fired.get(FaultKind::Arrearage) {
        let message = "Access denied, please make sure your account is in good standing.";
        return Some(make(fault, 400, "Arrearage", message));
    }
    if let Some(fault) = fired.get(FaultKind::Throttle) {
        let message = "Requests rate limit exceeded, please try again later.";
        return Some(make(fault, 429, "Throttling.RateQuota", message));
    }
    let fault = fired.get(FaultKind::Status)?;
    let code = match fault.status {
        Some(502..=504) => "ModelUnavailable",
        _ => "InternalError",
    };
    Some(make(fault, 500, code, "Internal server error!"))
}

fn with_body(response: Response, change: impl FnOnce(Body) -> Body) -> Response {
    let (mut parts, body) = response.into_parts();
    // The changed body is sent in chunks, because it no longer has the length that was declared.
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, change(body))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
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

/// Neither JSON nor UTF-8 nor a stream of events.
const GARBAGE: &[u8] = b"\x89\xff\xfe{\"output\": oops";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_key_cannot_be_used() {
        assert_eq!(masked("sk-0123456789abcdef"), "sk-…cdef");
        assert_eq!(masked("sk-short"), "…");
    }
}
