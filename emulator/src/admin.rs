//! The emulator's interface for tests, besides the service: faults and the journal, while it runs.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;

use crate::faults::{Active, Fault};
use crate::service::Service;

/// `GET /emulator/faults`: the faults in force, with `seen` and `hits`.
pub async fn faults(State(service): State<Arc<Service>>) -> Json<Vec<Active>> {
    Json(service.faults.list())
}

/// `PUT /emulator/faults`: an array of faults, which replaces all previous ones; `[]` ends them.
pub async fn set_faults(State(service): State<Arc<Service>>, body: String) -> Response {
    match serde_json::from_str::<Vec<Fault>>(&body) {
        Ok(faults) => {
            service.faults.replace(faults);
            Json(service.faults.list()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("not a list of faults: {error}\n")).into_response(),
    }
}

/// `GET /emulator/journal`: all lines so far.
pub async fn journal(State(service): State<Arc<Service>>) -> Response {
    match tokio::fs::File::open(service.journal.path()).await {
        Ok(file) => {
            let lines = Body::from_stream(ReaderStream::new(file));
            ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
