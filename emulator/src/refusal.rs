//! The service's refusals.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

/// An answer with a code, as the table of errors lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
    /// Value of a `Retry-After` header, in seconds.
    pub retry_after: Option<f64>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &str, message: &str) -> Refusal {
        Refusal { status, code: code.to_owned(), message: message.to_owned(), retry_after: None }
    }

    /// 400 `InvalidParameter`: the shape, a value, or media that cannot be read.
    pub fn invalid(message: &str) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "InvalidParameter", message)
    }

    /// 400 with one of the `BadRequest.…` codes: a required field is missing.
    pub fn missing(code: &str, field: &str) -> Refusal {
        let message = format!(
            "Required parameter \"{field}\" missing or invalid, please check the request parameters."
        );
        Refusal::new(StatusCode::BAD_REQUEST, code, &message)
    }

    /// The refusal of a model on the other engine's endpoint.
    pub fn wrong_endpoint() -> Refusal {
        Refusal::invalid(
            "url error, please check url！ For details, see: https://help.aliyun.com/zh/model-studio/error-code#error-url",
        )
    }

    pub fn unknown_model() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "ModelNotFound", "Model not exist.")
    }

    /// 403 for a wrong or missing `X-DashScope-Async`; `manner` is "synchronous" or "asynchronous".
    pub fn calls_not_supported(manner: &str) -> Refusal {
        let message = format!("current user api does not support {manner} calls.");
        Refusal::new(StatusCode::FORBIDDEN, "AccessDenied", &message)
    }

    /// The answer in JSON, or as one `event:error` if a stream was requested.
    pub fn respond(&self, request_id: &str, event_stream: bool) -> Response {
        let body = json!({"code": self.code, "message": self.message, "request_id": request_id}).to_string();
        let (content_type, body) = if event_stream {
            let status = self.status.as_u16();
            let event = format!("id:1\nevent:error\n:HTTP_STATUS/{status}\ndata:{body}\n\n");
            ("text/event-stream;charset=UTF-8", event)
        } else {
            ("application/json", body)
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let retry_after = self.retry_after.map(|seconds| HeaderValue::from_str(&seconds.to_string()));
        if let Some(Ok(seconds)) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
