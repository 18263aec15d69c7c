//! The form that a person fills in with the token, and the cookie that it becomes.

use axum::Form;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::page::{asset, login_page};
use super::problem::Problem;
use super::state::Api;

/// How long a browser keeps the cookie: 30 days.
const KEPT: u32 = 30 * 24 * 3600;

#[derive(Deserialize)]
pub(super) struct Entered {
    token: String,
}

/// `GET /login`.
pub(super) async fn form() -> Response {
    asset("text/html; charset=utf-8", login_page(false))
}

/// `POST /login`.
pub(super) async fn enter(State(api): State<Api>, Form(entered): Form<Entered>) -> Result<Response, Problem> {
    let Some(session) = api.desk()?.tokens.session(&entered.token) else {
        return Ok(
            (StatusCode::UNAUTHORIZED, asset("text/html; charset=utf-8", login_page(true))).into_response()
        );
    };
    Ok((cookie(&api, &session, KEPT), Redirect::to("/")).into_response())
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
