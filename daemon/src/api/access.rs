//! Who may ask for what: the Host header, the token or the session's cookie, and the headers that keep a browser from doing more than the page
//! needs.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::problem::Problem;
use super::state::Api;
use super::token::Rights;
use super::{login, page};

/// The page loads nothing from other servers, and contains no inline script or style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; media-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Paths that need no token: what shows no job. `/metrics` needs one beyond loopback.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/login"];

/// Where the server listens, and the further names that it answers to.
#[derive(Debug, Clone)]
pub struct Address {
    pub listen: SocketAddr,
    /// `http.hosts`.
    pub hosts: Vec<String>,
    /// Connections are TLS.
    pub is_tls: bool,
}

impl Address {
    /// Whether a Host header names this server. An IP address always does: a page of another site can reach the daemon only by a name whose DNS
    /// entry its owner points at the daemon (DNS rebinding), never by an address.
    fn is_own(&self, host: &str) -> bool {
        let name = without_port(host);
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(host))
    }

    /// The cookie's name.
    pub(super) fn cookie(&self) -> &'static str {
        if self.is_tls { "__Host-hark" } else { "hark" }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

/// Lets a request through whose Host and token are right, and adds the headers of every answer.
pub async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let mut response = match admit(&api, &request) {
        Ok(rights) => {
            request.extensions_mut().insert(rights);
            next.run(request).await
        }
        Err(refusal) => *refusal,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Answers contain words of calls, so no cache may keep them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn admit(api: &Api, request: &Request) -> Result<Option<Rights>, Box<Response>> {
    let refused = |answer: Response| Err(Box::new(answer));
    let (path, headers) = (request.uri().path(), request.headers());
    let address = api.address();
    let is_probe = ["/healthz", "/readyz", "/metrics"].contains(&path);
    // Monitoring asks these paths under names that `http.hosts` does not have; the answers show no job.
    if !is_probe {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| address.is_own(host)) {
            let detail = "the Host header does not name this daemon; add the name to http.hosts";
            return refused(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response());
        }
    }
    let is_open = OPEN.contains(&path) || path.starts_with(page::ASSETS_PATH);
    if is_open || (path == "/metrics" && address.listen.ip().is_loopback()) {
        return Ok(None);
    }
    let handles = api.handles().map_err(|starting| Box::new(starting.into_response()))?;
    let rights = bearer(headers).map_or_else(
        || cookie(headers, address.cookie()).and_then(|cookie| handles.tokens.rights_of_session(cookie)),
        |token| handles.tokens.rights(token),
    );
    match rights {
        // Every session may end itself.
        Some(rights) if rights == Rights::Steer || is_reading(request.method()) || path == "/logout" => {
            Ok(Some(rights))
        }
        Some(_) => {
            let detail = "this token may only read; a request that changes something needs the token of http.token_file";
            refused(Problem::new(StatusCode::FORBIDDEN, detail).into_response())
        }
        None if wants_page(request) => {
            let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
            refused(Redirect::to(&login::path(wanted)).into_response())
        }
        None => {
            let detail = "a token is needed: Authorization: Bearer <token>; the daemon's log names the file that holds it";
            let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            refused(response)
        }
    }
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a person's browser asks for a page, and is shown the form for the token.
fn wants_page(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_api = request.uri().path().starts_with("/api/") || request.uri().path() == "/metrics";
    request.method() == Method::GET && !is_api && accept.is_some_and(|accept| accept.contains("text/html"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_config_does_not_know_is_foreign() {
        let address = |hosts: &[&str]| Address {
            listen: ([127, 0, 0, 1], 9464).into(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            is_tls: false,
        };
        for own in ["127.0.0.1:9464", "localhost:9464", "LOCALHOST", "[::1]:9464", "10.1.2.3"] {
            assert!(address(&[]).is_own(own), "{own}");
        }
        for foreign in ["evil.example:9464", "localhost.evil.example", "", "hark.example"] {
            assert!(!address(&[]).is_own(foreign), "{foreign}");
        }
        assert!(address(&["hark.example"]).is_own("Hark.Example:443"));
    }
}
