//! What HTTP changes: the POST requests, carried out by [`super::steer`].

use std::future::Future;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use super::jobs::job_id;
use super::problem::Problem;
use super::state::Api;
use super::steer::jobs::{self, OfJob};
use super::steer::{Named, Refusal, Steer, sources};
use crate::job::ledger::view::Listed;

/// `POST /api/jobs/<id>/cancel`.
pub(super) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Listed>, Problem> {
    let job = job_id(&id)?;
    carry_out(&api, &headers, |steer| jobs::cancel(steer, OfJob { job })).await
}

/// `POST /api/jobs/<id>/retry`.
pub(super) async fn retry(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Listed>, Problem> {
    let job = job_id(&id)?;
    carry_out(&api, &headers, |steer| jobs::retry(steer, OfJob { job })).await
}

/// `POST /api/sources/<name>/pause`.
pub(super) async fn pause(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<sources::Listed>, Problem> {
    carry_out(&api, &headers, |steer| sources::pause(steer, Named { name })).await
}

/// `POST /api/sources/<name>/resume`.
pub(super) async fn resume(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<sources::Listed>, Problem> {
    carry_out(&api, &headers, |steer| sources::resume(steer, Named { name })).await
}

/// `POST /api/sources/<name>/rescan`.
pub(super) async fn rescan(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<sources::Listed>, Problem> {
    carry_out(&api, &headers, |steer| sources::rescan(steer, Named { name })).await
}

/// Carries out a request that says that it is JSON: a form of another site's page cannot say so.
async fn carry_out<T: Serialize, F: Future<Output = Result<T, Refusal>>>(
    api: &Api,
    headers: &HeaderMap,
    action: impl FnOnce(Steer) -> F,
) -> Result<Json<T>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        let detail = "this needs Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(Json(action(api.desk()?.steer.clone()).await?))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Problem::new(status, refusal.to_string())
    }
}
