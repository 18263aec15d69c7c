//! The form that a person fills in with the token, and the cookie that it becomes.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::page::login_page;
use super::problem::Problem;
use super::state::Api;

/// How long a browser keeps the cookie: 30 days.
const KEPT: u32 = 30 * 24 * 3600;

#[derive(Deserialize)]
pub(super) struct Entered {
    token: String,
}

/// Where a person wanted to go who was asked for the token first.
#[derive(Deserialize)]
pub(super) struct Wanted {
    next: Option<String>,
}

/// The path of the form for one who wants to see this path.
pub(super) fn path(wanted: &str) -> String {
    match is_page(wanted) {
        true => {
            format!(
                "/login?{}",
                url::form_urlencoded::Serializer::new(String::new()).append_pair("next", wanted).finish()
            )
        }
        false => "/login".to_owned(),
    }
}

/// Whether a path is one of the page's own beside `/`: a link must not lead elsewhere by way of the form.
fn is_page(path: &str) -> bool {
    (path.starts_with("/jobs") || path.starts_with("/?")) && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `GET /login`.
pub(super) async fn form() -> Response {
    login_page(false)
}

/// `POST /login`.
pub(super) async fn enter(
    State(api): State<Api>,
    Query(wanted): Query<Wanted>,
    Form(entered): Form<Entered>,
) -> Result<Response, Problem> {
    let Some(session) = api.desk()?.tokens.session(&entered.token) else {
        return Ok((StatusCode::UNAUTHORIZED, login_page(true)).into_response());
    };
    let next = wanted.next.filter(|next| is_page(next));
    Ok((cookie(&api, &session, KEPT), Redirect::to(next.as_deref().unwrap_or("/"))).into_response())
}

/// `POST /logout`.
pub(super) async fn leave(State(api): State<Api>) -> Response {
    (cookie(&api, "", 0), Redirect::to("/login")).into_response()
}

fn cookie(api: &Api, session: &str, seconds: u32) -> [(header::HeaderName, String); 1] {
    let secure = if api.address().is_tls { "; Secure" } else { "" };
    let name = api.address().cookie();
    [(
        header::SET_COOKIE,
        format!("{name}={session}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_leads_to_pages_of_the_daemon_only() {
        assert_eq!(path("/jobs?text=a b"), "/login");
        assert_eq!(
            path("/jobs?text=a+b&state=failed"),
            "/login?next=%2Fjobs%3Ftext%3Da%2Bb%26state%3Dfailed"
        );
        assert_eq!((path("/"), path("/api/jobs")), ("/login".to_owned(), "/login".to_owned()));
        for foreign in ["//evil.example", "https://evil.example/jobs", "/\\evil.example", "/jobs\r\nX: y"] {
            assert!(!is_page(foreign), "{foreign}");
        }
    }
}
