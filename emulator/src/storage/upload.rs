//! `POST /` on the storage: a form with the fields of the policy and the file at its end, streamed to disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use multer::{Field, Multipart};

use crate::call::Call;
use crate::journal::Kind;
use crate::service::Service;
use crate::source::{Incoming, SourceError};

use super::policy::{ACCESS_KEY_ID, ACL, FORBID_OVERWRITE, Policy};
use super::{Upload, XmlRefusal};

pub async fn post_object(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut call = match Call::begin(&service, Kind::Upload, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let response = match store(&service, &mut call, &parts, body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => {
            call.entry.outcome = refusal.code.to_owned();
            refusal.respond(&call.entry.request_id)
        }
    };
    call.answer(response).await
}

async fn store(service: &Arc<Service>, call: &mut Call, parts: &Parts, body: Body) -> Result<(), XmlRefusal> {
    refuse_authorization(parts)?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type
        .and_then(|value| multer::parse_boundary(value).ok())
        .ok_or_else(|| malformed("The body of your POST request is not well-formed multipart/form-data."))?;
    let mut form = Multipart::new(body.into_data_stream(), boundary);
    let mut fields = HashMap::new();
    while let Some(field) = form.next_field().await.map_err(|error| malformed(&error.to_string()))? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            // Fields after the file are not read, as in the real storage.
            let (key, policy) = admit(service, &fields)?;
            call.entry.file_url = Some(format!("oss://{key}"));
            call.entry.model = Some(policy.model.clone());
            return keep(service, call, key, policy, field).await;
        }
        fields.insert(name, short_text(field).await?);
    }
    Err(malformed("The form has no field \"file\", which must be the last one."))
}

/// The storage accepts a signature in the form or a header, never both; and it must not receive an API key.
pub(super) fn refuse_authorization(parts: &Parts) -> Result<(), XmlRefusal> {
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let message =
            "Only one auth mechanism is allowed: the request is signed and has an Authorization header.";
        return Err(XmlRefusal::new(StatusCode::BAD_REQUEST, "InvalidArgument", message));
    }
    Ok(())
}

/// Checks the fields against the policy; returns the key of the new object.
fn admit(service: &Service, fields: &HashMap<String, String>) -> Result<(String, Policy), XmlRefusal> {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let text = field("policy");
    if text.is_empty() {
        return Err(XmlRefusal::denied("The form has no policy."));
    }
    if field("ossaccesskeyid") != ACCESS_KEY_ID {
        let message = "The OSS Access Key Id you provided does not exist in our records.";
        return Err(XmlRefusal::new(StatusCode::FORBIDDEN, "InvalidAccessKeyId", message));
    }
    if field("signature") != service.storage.sign(text) {
        let message = "The request signature we calculated does not match the signature you provided.";
        return Err(XmlRefusal::new(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message));
    }
    let policy: Policy =
        STANDARD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
            XmlRefusal::new(StatusCode::BAD_REQUEST, "InvalidPolicyDocument", "The policy is not valid.")
        })?;
    if policy.expiration <= Timestamp::now() {
        return Err(XmlRefusal::denied("Invalid according to Policy: Policy expired."));
    }
    let key = field("key");
    let name =
        key.strip_prefix(&policy.directory).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    if name.is_empty() {
        return Err(by_policy("[\"starts-with\", \"$key\", upload_dir]"));
    }
    if field("x-oss-object-acl") != ACL {
        return Err(by_policy("[\"eq\", \"$x-oss-object-acl\", \"private\"]"));
    }
    if field("x-oss-forbid-overwrite") != FORBID_OVERWRITE {
        return Err(by_policy("[\"eq\", \"$x-oss-forbid-overwrite\", \"true\"]"));
    }
    if field("success_action_status") != "200" {
        return Err(malformed("success_action_status must be 200."));
    }
    Ok((key.to_owned(), policy))
}

async fn keep(
    service: &Arc<Service>,
    call: &mut Call,
    key: String,
    policy: Policy,
    mut file: Field<'_>,
) -> Result<(), XmlRefusal> {
    let mut incoming =
        Incoming::new(service.directory(), policy.most_bytes).map_err(|error| internal(&error))?;
    while let Some(chunk) = file.chunk().await.map_err(|error| malformed(&error.to_string()))? {
        incoming = incoming.push_elsewhere(chunk).await.map_err(|error| match error {
            SourceError::TooLarge(_) => XmlRefusal::new(
                StatusCode::BAD_REQUEST,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size.",
            ),
            other => internal(&other),
        })?;
    }
    let arrived = incoming.finish().map_err(|error| internal(&error))?;
    call.entry.sha256 = Some(arrived.sha256.clone());
    call.entry.bytes = Some(arrived.bytes);
    let upload = Upload {
        file: arrived.file.into_temp_path(),
        sha256: arrived.sha256,
        bytes: arrived.bytes,
        model: policy.model,
        ends: Instant::now() + KEPT,
    };
    match service.storage.uploads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(key) {
        Entry::Vacant(place) => {
            place.insert(upload);
            Ok(())
        }
        Entry::Occupied(_) => Err(XmlRefusal::new(
            StatusCode::CONFLICT,
            "FileAlreadyExists",
            "The object you specified already exists and can not be overwritten.",
        )),
    }
}

/// Reads a field that is no file. The policy is the longest of them, some hundred bytes.
async fn short_text(mut field: Field<'_>) -> Result<String, XmlRefusal> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| malformed(&error.to_string()))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > FIELD_BYTES {
            return Err(malformed("A form field is too long."));
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed("A form field is not UTF-8."))
}

fn malformed(message: &str) -> XmlRefusal {
    XmlRefusal::new(StatusCode::BAD_REQUEST, "MalformedPOSTRequest", message)
}

fn by_policy(condition: &str) -> XmlRefusal {
    XmlRefusal::denied(&format!("Invalid according to Policy: Policy Condition failed: {condition}"))
}

fn internal(error: &dyn std::error::Error) -> XmlRefusal {
    tracing::error!(%error, "an upload could not be stored");
    XmlRefusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalError",
        "Please contact the server administrator.",
    )
}

const FIELD_BYTES: usize = 64 << 10;
/// The service keeps temporary uploads for 48 hours.
const KEPT: Duration = Duration::from_secs(48 * 3600);
