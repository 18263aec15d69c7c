//! The form that a person fills in with the token, and the cookie that it becomes.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::page::login_page;
use super::problem::Problem;
use super::state::Api;

/// How long a browser keeps the cookie: 30 days.
const KEPT: u32 = 30 * 24 * 3600;

/// The path of the login form, with the page that the person wanted to see.
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

/// Whether a path is a page of the daemon other than `/`: a link to the form must not lead to another site after the login.
fn is_page(path: &str) -> bool {
    (path.starts_with("/jobs") || path.starts_with("/?")) && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `GET /login`.
pub(super) async fn form() -> Response {
    login_page(false)
}

/// `POST /login`. `?next=` is the page that the person had opened when the daemon asked for the token.
pub(super) async fn enter(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    entered: Bytes,
) -> Result<Response, Problem> {
    let token = field(&entered, "token").ok_or_else(|| Problem::bad("the form has no token"))?;
    let Some(session) = api.handles()?.tokens.session(&token) else {
        return Ok((StatusCode::UNAUTHORIZED, login_page(true)).into_response());
    };
    let next = field(query.unwrap_or_default().as_bytes(), "next").filter(|next| is_page(next));
    Ok((cookie(&api, &session, KEPT), Redirect::to(next.as_deref().unwrap_or("/"))).into_response())
}

fn field(form: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(form).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
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
