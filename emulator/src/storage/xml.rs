//! Refusals in the storage's own format.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// An error of the object storage.
#[derive(Debug, Clone)]
pub struct XmlRefusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl XmlRefusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> XmlRefusal {
        XmlRefusal { status, code, message: message.into() }
    }

    /// 403 `AccessDenied`.
    pub fn denied(message: &str) -> XmlRefusal {
        XmlRefusal::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    pub fn respond(&self, request_id: &str) -> Response {
        let message = self.message.replace('&', "&amp;").replace('<', "&lt;");
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>{}</Code>\n  <Message>{message}</Message>\n  \
             <RequestId>{request_id}</RequestId>\n  <HostId>dashscope-emulator</HostId>\n</Error>\n",
            self.code
        );
        (self.status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
    }
}
