//! The live page: files that are part of the program. Nothing is built and nothing is loaded from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const LOGIN: &str = include_str!("page/login.html");
const STYLE: &str = include_str!("page/style.css");

/// An asset with its type. Browsers ask again each time: the files change with the program only, and are small.
pub(super) fn asset(kind: &'static str, text: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text.into()).into_response()
}

/// The form for the token. `wrong`: the last one was none of the daemon's.
pub(super) fn login_page(wrong: bool) -> String {
    let hidden = if wrong { "" } else { " hidden" };
    LOGIN.replace("{hidden}", hidden)
}

/// `GET /style.css`.
pub(super) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}
