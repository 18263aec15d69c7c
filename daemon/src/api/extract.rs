//! What handlers take from requests, with refusals in the form of the API.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Time limit for the body of a request. Bodies are small (a form, or an empty object) and fit into one packet.
const BODY_LIMIT: Duration = Duration::from_secs(2);

/// The longest body.
const LARGEST: usize = 64 << 10;

/// The part of the path that differs between requests of a route: an id, a name.
pub(super) struct InPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::bad(rejection.body_text()))?;
        Ok(InPath(text))
    }
}

/// Reads the whole body before the handler runs, so that a client that sends none occupies one of the connections for a moment only.
pub(super) async fn whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_LIMIT, to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Ok(Err(error)) => Problem::bad(format!("the body cannot be read, or is longer than 64 KiB: {error}"))
            .into_response(),
        Err(_) => {
            let detail = "the body of the request has not come in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
        }
    }
}
