//! Every path of the server.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing;
use axum::routing::get;
use serde_json::json;

use super::access::guard;
use super::extract::whole_body;
use super::health::Part;
use super::problem::Problem;
use super::state::Api;
use super::{audio, jobs, login, openapi, page, post, status, stream};
use crate::telemetry::logging::readable_json;

/// The content type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The paths with their handlers, behind the guard.
pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .route("/login", get(login::form).post(login::enter))
        .route("/logout", routing::post(login::leave))
        .route("/", get(page::shell))
        .route("/jobs", get(page::shell))
        .route("/jobs/{id}", get(page::shell))
        .route("/assets/{name}", get(page::asset))
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/{id}", get(jobs::show))
        .route("/api/jobs/{id}/events", get(jobs::events))
        .route("/api/jobs/{id}/audio", get(audio::play))
        .route("/api/jobs/{id}/cancel", routing::post(post::cancel))
        .route("/api/jobs/{id}/retry", routing::post(post::retry))
        .route("/api/sources/{name}/pause", routing::post(post::pause))
        .route("/api/sources/{name}/resume", routing::post(post::resume))
        .route("/api/sources/{name}/rescan", routing::post(post::rescan))
        .route("/api/events", get(stream::events))
        .route("/api/status", get(status::status))
        .route("/api/spend", get(status::spend))
        .route("/api/openapi.json", get(|| async { axum::Json(openapi::document()) }))
        .fallback(|| async { Problem::unknown("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(middleware::from_fn(whole_body))
        .layer(middleware::from_fn_with_state(api.clone(), guard))
        .with_state(api)
}

async fn readiness(State(api): State<Api>) -> Response {
    let missing = api.health().missing();
    let (status, ready) = match missing.as_slice() {
        [] => (StatusCode::OK, true),
        _ => (StatusCode::SERVICE_UNAVAILABLE, false),
    };
    let body = json!({ "ready": ready, "not_ready": missing }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], readable_json(&body).into_owned()).into_response()
}

async fn metrics(State(api): State<Api>) -> Response {
    let missing = api.health().missing();
    for part in Part::ALL {
        let is_ready = missing.iter().all(|missing| missing.part != part);
        api.metrics().ready.with_label_values(&[part.as_str()]).set(is_ready.into());
    }
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], api.metrics().page()).into_response()
}
