//! `GET /results/…json?Expires=…&OSSAccessKeyId=…&Signature=…`: a result file, for any client that has its URL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tempfile::TempPath;
use tokio_util::io::ReaderStream;

use crate::call::Call;
use crate::faults::FaultKind;
use crate::journal::Kind;
use crate::service::Service;

use super::policy::ACCESS_KEY_ID;
use super::upload::refuse_authorization;
use super::{ResultFile, Storage, XmlRefusal};

impl Storage {
    /// Stores a result file for `ttl` and returns its path and query. Clients have to use them byte for byte: like the service's, the path
    /// has an encoded colon, and the signature an encoded plus.
    pub fn publish_result(&self, task_id: &str, file: TempPath, ttl: Duration) -> String {
        let now = Timestamp::now();
        let path = format!("/results/{}/{task_id}.json", now.strftime("%Y%m%d/%H%%3A%M"));
        let expires = (now + ttl).as_second();
        let signature = self.sign(&format!("{path}\n{expires}")).replace('/', "%2F").replace('=', "%3D");
        let signature = format!("{}%2B{}", signature.replace('+', "%2B"), "aQ");
        let query = format!("Expires={expires}&OSSAccessKeyId={ACCESS_KEY_ID}&Signature={signature}");
        let result = ResultFile { file, query: query.clone(), ends: Instant::now() + ttl };
        let url = format!("{path}?{query}");
        self.results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(path, result);
        url
    }

    fn result(&self, path: &str, query: Option<&str>) -> Result<std::path::PathBuf, XmlRefusal> {
        let results = self.results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let no_such_key =
            || XmlRefusal::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
        let result = results.get(path).ok_or_else(no_such_key)?;
        if query != Some(result.query.as_str()) {
            let message = "The request signature we calculated does not match the signature you provided.";
            return Err(XmlRefusal::new(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message));
        }
        if result.ends <= Instant::now() {
            return Err(XmlRefusal::denied("Request has expired."));
        }
        Ok(result.file.to_path_buf())
    }
}

/// Everything on the storage but `POST /`.
pub async fn get_object(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let mut call = match Call::begin(&service, Kind::Result, &parts) {
        Ok(call) => call,
        Err(response) => return *response,
    };
    let name = parts.uri.path().rsplit('/').next().unwrap_or_default();
    call.entry.task_id = name.strip_suffix(".json").map(str::to_owned);
    let response = match open(&service, &call, &parts).await {
        Ok(file) => {
            let body = Body::from_stream(ReaderStream::new(file));
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(refusal) => {
            call.entry.outcome = refusal.code.to_owned();
            refusal.respond(&call.entry.request_id)
        }
    };
    call.answer(response).await
}

async fn open(service: &Service, call: &Call, parts: &Parts) -> Result<tokio::fs::File, XmlRefusal> {
    refuse_authorization(parts)?;
    if parts.method != Method::GET {
        let message = "The specified method is not allowed against this resource.";
        return Err(XmlRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message));
    }
    if !parts.uri.path().starts_with("/results/") {
        // Uploads can be neither listed nor fetched.
        return Err(XmlRefusal::denied("You have no right to access this object."));
    }
    match call.fired.get(FaultKind::ResultExpired).map(|fault| fault.status) {
        Some(Some(404)) => {
            return Err(XmlRefusal::new(
                StatusCode::NOT_FOUND,
                "NoSuchKey",
                "The specified key does not exist.",
            ));
        }
        Some(_) => return Err(XmlRefusal::denied("Request has expired.")),
        None => {}
    }
    let path = service.storage.result(parts.uri.path(), parts.uri.query())?;
    tokio::fs::File::open(path).await.map_err(|error| {
        XmlRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.to_string())
    })
}
