//! Refusals of the API, as RFC 9457 writes them.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::job::ledger::LedgerError;

/// A request that is refused, and why.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// A sentence for the client: what is wrong, and what to do.
    pub detail: String,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into() }
    }

    /// 400.
    pub fn bad(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub fn unknown(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503, for a daemon that has not opened its ledger yet.
    pub fn starting() -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is starting; see /readyz, and ask again in a moment",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({ "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail });
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the ledger cannot be read: {error}"))
    }
}
