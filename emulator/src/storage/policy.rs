//! `GET /api/v1/uploads?action=getPolicy&model=…`: permission to upload into a new directory for a while.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::call::Call;
use crate::journal::Kind;
use crate::refusal::Refusal;
use crate::service::Service;

/// What a policy allows. The client sends it back with its signature, so the storage need not remember policies.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Policy {
    pub(super) expiration: Timestamp,
    pub(super) directory: String,
    pub(super) model: String,
    pub(super) most_bytes: u64,
}

/// The fields that an upload must repeat exactly.
pub(super) const ACL: &str = "private";
pub(super) const FORBID_OVERWRITE: &str = "true";
pub(super) const ACCESS_KEY_ID: &str = "LTAIemulator";

#[derive(Debug, Deserialize)]
struct Parameters {
    action: Option<String>,
    model: Option<String>,
}

pub async fn get_policy(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let mut call = match Call::begin(&service, Kind::Policy, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let parameters = Query::<Parameters>::try_from_uri(&parts.uri)
        .map(|query| query.0)
        .map_err(|_| Refusal::invalid("the query cannot be read"));
    let answer = parameters.and_then(|parameters| answer(&service, &mut call, parameters));
    call.finish(answer).await
}

fn answer(service: &Service, call: &mut Call, parameters: Parameters) -> Result<Response, Refusal> {
    call.authorize()?;
    if parameters.action.as_deref() != Some("getPolicy") {
        return Err(Refusal::invalid("action must be getPolicy"));
    }
    let model = parameters.model.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Refusal::missing("BadRequest.EmptyModel", "model"))?;
    call.entry.model = Some(model.clone());
    service.model(&model).ok_or_else(Refusal::unknown_model)?;

    let now = Timestamp::now();
    let most_bytes = service.options.upload_limit_mb << 20;
    let policy = Policy {
        expiration: now + service.options.policy_ttl,
        directory: format!("dashscope-instant/{}/{}", now.strftime("%Y-%m-%d"), uuid::Uuid::now_v7()),
        model,
        most_bytes,
    };
    let text = STANDARD.encode(json!(policy).to_string());
    Ok(Json(json!({
        "request_id": call.entry.request_id,
        "data": {
            "signature": service.storage.sign(&text),
            "policy": text,
            "upload_dir": policy.directory,
            "upload_host": service.storage_base(),
            "expire_in_seconds": service.options.policy_ttl.as_secs(),
            "max_file_size_mb": service.options.upload_limit_mb,
            "capacity_limit_mb": 999_999_999,
            "oss_access_key_id": ACCESS_KEY_ID,
            "x_oss_object_acl": ACL,
            "x_oss_forbid_overwrite": FORBID_OVERWRITE,
        },
    }))
    .into_response())
}
