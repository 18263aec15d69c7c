//! What HTTP changes: the POST requests, carried out by [`super::steer`].

use std::future::Future;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::extract::InPath;
use super::jobs::job_id;
use super::problem::Problem;
use super::state::Api;
use super::steer::jobs::{self, OfJob};
use super::steer::{Named, Refusal, Steer, sources};
use crate::job::ledger::view::Listed;

/// `POST /api/jobs/<id>/cancel`.
pub(super) async fn cancel(
    State(api): State<Api>,
    InPath(id): InPath,
    AsJson: AsJson,
) -> Result<Json<Listed>, Problem> {
    let job = job_id(&id)?;
    carry_out(&api, |steer| jobs::cancel(steer, OfJob { job })).await
}

/// `POST /api/jobs/<id>/retry`.
pub(super) async fn retry(
    State(api): State<Api>,
    InPath(id): InPath,
    AsJson: AsJson,
) -> Result<Json<Listed>, Problem> {
    let job = job_id(&id)?;
    carry_out(&api, |steer| jobs::retry(steer, OfJob { job })).await
}

/// `POST /api/sources/<name>/pause`.
pub(super) async fn pause(
    State(api): State<Api>,
    InPath(name): InPath,
    AsJson: AsJson,
) -> Result<Json<sources::Listed>, Problem> {
    carry_out(&api, |steer| sources::pause(steer, Named { name })).await
}

/// `POST /api/sources/<name>/resume`.
pub(super) async fn resume(
    State(api): State<Api>,
    InPath(name): InPath,
    AsJson: AsJson,
) -> Result<Json<sources::Listed>, Problem> {
    carry_out(&api, |steer| sources::resume(steer, Named { name })).await
}

/// `POST /api/sources/<name>/rescan`.
pub(super) async fn rescan(
    State(api): State<Api>,
    InPath(name): InPath,
    AsJson: AsJson,
) -> Result<Json<sources::Listed>, Problem> {
    carry_out(&api, |steer| sources::rescan(steer, Named { name })).await
}

async fn carry_out<T: Serialize, F: Future<Output = Result<T, Refusal>>>(
    api: &Api,
    action: impl FnOnce(Steer) -> F,
) -> Result<Json<T>, Problem> {
    Ok(Json(action(api.handles()?.steer.clone()).await?))
}

/// Accepts only requests of type JSON: a form on a page of another site cannot send this type without asking first (CSRF). The body is an
/// empty object, or empty; its fields have no meaning.
pub(super) struct AsJson;

impl<S: Send + Sync> FromRequest<S> for AsJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            let detail = "this needs Content-Type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let body =
            Bytes::from_request(request, state).await.map_err(|error| Problem::bad(error.body_text()))?;
        if !body.is_empty() && serde_json::from_slice::<Map<String, Value>>(&body).is_err() {
            return Err(Problem::bad("the body is no JSON object; {} is enough"));
        }
        Ok(AsJson)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Problem::new(status, refusal.to_string())
    }
}
