//! The connection to the service: addresses, the key, time limits, and what an answer means before anybody looks into it.
//!
//! Three HTTP clients. Two speak to the API: with the key, without redirects; what costs leaves on connections of its own. The third
//! fetches results on hosts that the service names: it never sees the key. None resends anything by itself, and an environment proxy
//! (`HTTPS_PROXY`, `NO_PROXY`) is used unless the API is on this machine.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client as Http, ClientBuilder, RequestBuilder, Response, Url};
use serde_json::Value;
use tracing::trace;

use super::body::{Departure, Left, Outgoing};
use super::error::{Error, Verdict};
use super::json;
use super::verdict::Refusal;
use crate::config::Secret;

/// How long the network may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To reach a host.
    pub connect: Duration,
    /// In which nothing moves, neither way.
    pub idle: Duration,
    /// For a whole call that costs nothing.
    pub call: Duration,
    /// In which a stream brings signs of life (comments, events without news) and no text.
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            call: Duration::from_secs(30),
            silence: Duration::from_secs(300),
        }
    }
}

/// An address or TLS setting of which no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `dashscope.base_url` is no URL of a host.
    #[error("dashscope.base_url {0:?} is not an http or https address; write it up to and including /api/v1")]
    Address(String),
    /// No roots, no TLS library.
    #[error(
        "no TLS client can be made: {0}; are the system's CA certificates installed (package ca-certificates)?"
    )]
    Tls(String),
}

/// Idle connections are dropped before the shortest keep-alive in common use (5 s) ends at the other side.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// A server may close a connection at the very moment at which it is used again, and a paid request that was lost so has an unknown fate.
/// A fresh connection takes some round trips more; recognition takes seconds.
const NEVER_AGAIN: usize = 0;

/// Forms of an answer.
pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Longest JSON answer of the API; a transcript of five minutes has some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// How much of a refusal is read for its code.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Redirects that a result's host may answer with.
const RESULT_REDIRECTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Client {
    paid: Http,
    api: Http,
    storage: Http,
    base: Url,
    key: RwLock<Secret>,
    key_file: Option<PathBuf>,
    timeouts: Timeouts,
}

impl Client {
    pub(crate) fn new(
        base_url: &str,
        key: Secret,
        key_file: Option<PathBuf>,
        timeouts: Timeouts,
    ) -> Result<Client, BuildError> {
        let base = base_url.trim_end_matches('/').to_owned();
        let url = Url::parse(&base).map_err(|_| BuildError::Address(base.clone()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(BuildError::Address(base));
        }
        // Already installed by another part of the daemon: the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = |redirects: Policy| {
            let builder = Http::builder()
                .user_agent(concat!("harkd/", env!("CARGO_PKG_VERSION")))
                // Saying nothing allows every coding, and one that packs a stream may hold its pieces back.
                .default_headers(HeaderMap::from_iter([(
                    ACCEPT_ENCODING,
                    HeaderValue::from_static("identity"),
                )]))
                .connect_timeout(timeouts.connect)
                .pool_idle_timeout(KEEP_ALIVE)
                .retry(reqwest::retry::never())
                .referer(false)
                .redirect(redirects);
            if is_loopback(&url) { builder.no_proxy() } else { builder }
        };
        let build = |builder: &dyn Fn() -> ClientBuilder| {
            builder().build().or_else(|error| {
                // Where the API is plain http (a stand-in), missing root certificates are no reason not to start.
                if url.scheme() == "https" { Err(error) } else { builder().tls_certs_only([]).build() }
            })
        };
        let tls = |error: reqwest::Error| BuildError::Tls(causes(error));
        Ok(Client {
            paid: build(&|| builder(Policy::none()).pool_max_idle_per_host(NEVER_AGAIN)).map_err(tls)?,
            api: build(&|| builder(Policy::none())).map_err(tls)?,
            storage: build(&|| builder(Policy::limited(RESULT_REDIRECTS))).map_err(tls)?,
            base: url,
            key: RwLock::new(key),
            key_file,
            timeouts,
        })
    }

    /// A POST of the API that costs, body to come; `accept` is the form of answer that is wanted.
    pub(crate) fn post(&self, path: &str, accept: &'static str) -> RequestBuilder {
        self.with_key(self.paid.post(format!("{}{path}", self.base)))
            .header(CONTENT_TYPE, HeaderValue::from_static(JSON))
            .header(ACCEPT, HeaderValue::from_static(accept))
    }

    /// A GET of the API, with its own time limit. What a segment of the path contains stays in that segment.
    pub(crate) fn get(&self, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        self.with_key(self.api.get(url)).timeout(self.timeouts.call)
    }

    /// The client that follows no redirects, for a host that must not see the key.
    pub(crate) fn without_key(&self) -> &Http {
        &self.api
    }

    /// The client for hosts that must not see the key.
    pub(crate) fn storage(&self) -> &Http {
        &self.storage
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Sends a request whose body may be long: as long as it moves there is time.
    ///
    /// # Errors
    /// Nothing was answered; the error knows whether the service may have the request.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        body: Outgoing,
        mut departure: Departure,
    ) -> Result<Response, Error> {
        let request =
            request.header(reqwest::header::CONTENT_LENGTH, body.length()).body(reqwest::Body::wrap(body));
        self.watch(request, &mut departure).await
    }

    /// As [`Client::send`], for a request that has its body already.
    pub(crate) async fn watch(
        &self,
        request: RequestBuilder,
        departure: &mut Departure,
    ) -> Result<Response, Error> {
        let mut answer = std::pin::pin!(request.send());
        let mut moving = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    let answer = answer.map_err(|error| lost(error.is_connect(), causes(error), departure))?;
                    // Never the query: it may be the right to read what the URL leads to.
                    let (host, path) = (answer.url().host_str(), answer.url().path());
                    trace!(host, path, status = answer.status().as_u16(), "answered");
                    return Ok(answer);
                }
                moved = departure.moved(), if moving => moving = moved,
                () = tokio::time::sleep(self.timeouts.idle) => {
                    let seconds = self.timeouts.idle.as_secs();
                    return Err(lost(false, format!("nothing moved for {seconds} s"), departure));
                }
            }
        }
    }

    /// The next piece of an answer's body; `None` at its end.
    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Error> {
        match tokio::time::timeout(self.timeouts.idle, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => {
                Err(Error::unknown("ConnectionLost", &format!("the answer broke off: {}", causes(error))))
            }
            Err(_) => {
                let seconds = self.timeouts.idle.as_secs();
                Err(Error::unknown("TimeOut", &format!("the answer stood still for {seconds} s")))
            }
        }
    }

    /// A JSON answer of the API, or the refusal that it is.
    ///
    /// # Errors
    /// The refusal, or [`super::error::Verdict::Unknown`] for a 200 that cannot be read.
    pub(crate) async fn json(&self, response: Response) -> Result<Value, Error> {
        let (answer, headers) = self.value(response).await?;
        match refusal_in(&answer, Some(&headers), None) {
            Some(error) => Err(self.masked(error)),
            None => Ok(answer),
        }
    }

    /// As [`Client::json`], where a code in the answer may be something else's than the call's.
    pub(crate) async fn value(&self, mut response: Response) -> Result<(Value, HeaderMap), Error> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let headers = std::mem::take(response.headers_mut());
        let body = self.body(&mut response, MAX_ANSWER_BYTES).await?;
        let answer = json::value(&body).map_err(|error| {
            Error::unknown("UnreadableAnswer", &format!("the service's answer is no JSON: {error}"))
        })?;
        Ok((answer, headers))
    }

    /// What an answer other than 2xx means.
    pub(crate) async fn refusal(&self, mut response: Response) -> Error {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let (body, broken) = self.as_much_as_comes(&mut response).await;
        let answer = json::value(&body).ok().or_else(|| event_in(&body));
        if let Some(error) = answer.and_then(|answer| refusal_in(&answer, Some(&headers), Some(status))) {
            return self.masked(error);
        }
        let message = format!(
            "HTTP status {status} without a code; is dashscope.base_url right, and is a gateway in between?"
        );
        let (hint, should_retry) = wishes(Some(&headers));
        let refusal = Refusal { status: Some(status), code: None, message: &message, hint, should_retry };
        let error = Error::refused(&refusal);
        match broken {
            // What it would have said may be that the account is in arrears; a refused request is free to repeat.
            Some(broken) if error.verdict == Verdict::GiveUp => Error::again(
                &error.fault.code,
                &format!("HTTP status {status}, and {}", broken.fault.message),
            ),
            _ => error,
        }
    }

    /// An error that does not show the key, should the service have echoed it.
    pub(crate) fn masked(&self, error: Error) -> Error {
        error.without(self.key.read().unwrap_or_else(PoisonError::into_inner).reveal())
    }

    /// Reads the key's file again, if it came from one: somebody may have put a good one there. What cannot be read changes nothing.
    pub(crate) async fn reread_key(&self) {
        let Some(path) = &self.key_file else { return };
        match tokio::fs::read_to_string(path).await {
            Ok(text) => {
                let key = Secret::new(&text);
                if !key.reveal().is_empty() {
                    *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the API key's file cannot be read; keeping the old key")
            }
        }
    }

    /// What a host other than the API says to a request that it refuses; as much as there is of it.
    pub(crate) async fn refusal_text(&self, mut response: Response) -> String {
        String::from_utf8_lossy(&self.as_much_as_comes(&mut response).await.0).into_owned()
    }

    /// The body of a refusal, and why it is not all of it.
    async fn as_much_as_comes(&self, response: &mut Response) -> (Vec<u8>, Option<Error>) {
        let mut body = Vec::new();
        while body.len() < MAX_REFUSAL_BYTES {
            match self.chunk(response).await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return (body, Some(error)),
            }
        }
        body.truncate(MAX_REFUSAL_BYTES);
        (body, None)
    }

    pub(crate) async fn body(&self, response: &mut Response, limit: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(response).await? {
            if body.len() + chunk.len() > limit {
                return Err(Error::unknown(
                    "UnreadableAnswer",
                    &format!("the service's answer is longer than {limit} bytes"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        match HeaderValue::from_str(&format!("Bearer {}", key.reveal())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // The service will say that there is no key, and that closes the queue as a bad one does.
            Err(_) => request,
        }
    }
}

/// A call that costs nothing got no answer.
pub(crate) fn unanswered(error: reqwest::Error) -> Error {
    if error.is_connect() {
        Error::not_sent(&format!("the service was not reached: {}", causes(error)))
    } else {
        Error::again("NoAnswer", &format!("the service did not answer: {}", causes(error)))
    }
}

/// The refusal that an answer carries in its body, whatever its status: a non-empty `code`, at the top or under `error`.
pub(crate) fn refusal_in(answer: &Value, headers: Option<&HeaderMap>, status: Option<u16>) -> Option<Error> {
    let place = if answer.get("error").is_some_and(Value::is_object) { &answer["error"] } else { answer };
    let code = place.get("code").and_then(Value::as_str).filter(|code| !code.is_empty())?;
    let message = ["message", "msg"].iter().find_map(|name| place.get(name)?.as_str()).unwrap_or_default();
    let (hint, should_retry) = wishes(headers);
    Some(Error::refused(&Refusal { status, code: Some(code), message, hint, should_retry }))
}

/// A request that was not answered. Only a body that left whole can have been taken; one that broke off on its way is free to
/// repeat, but not for ever: it may be this very request that the network does not let through.
fn lost(connecting: bool, causes: String, departure: &Departure) -> Error {
    if let Some(error) = departure.fault() {
        return error;
    }
    match departure.left() {
        _ if connecting => Error::not_sent(&format!("the service was not reached: {causes}")),
        Left::Nothing => {
            Error::again("NotSent", &format!("the connection broke before the request: {causes}"))
        }
        Left::Some(bytes) => Error::again(
            "NotSent",
            &format!("the connection broke after {bytes} bytes of the request: {causes}"),
        ),
        Left::All => Error::unknown("NoAnswer", &format!("the request left and no answer came: {causes}")),
    }
}

/// When, and whether, the service wants to be asked again.
fn wishes(headers: Option<&HeaderMap>) -> (Option<Duration>, Option<bool>) {
    /// A server that asks for more than this means "not today"; asking then costs one request.
    const LONGEST_HINT: Duration = Duration::from_secs(600);
    let text = |name: &str| headers.and_then(|headers| headers.get(name)?.to_str().ok()).map(str::trim);
    // Fractions are no HTTP, and common all the same.
    let number = |name: &str, unit: f64| {
        let seconds = text(name)?.parse::<f64>().ok().filter(|number| number.is_finite())? * unit;
        Duration::try_from_secs_f64(seconds.min(LONGEST_HINT.as_secs_f64())).ok()
    };
    let millis = number("retry-after-ms", 1e-3);
    let seconds = || number("retry-after", 1.0);
    let date = || {
        let date = jiff::fmt::rfc2822::parse(text("retry-after")?).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO))
    };
    // "At once" is no hint: a queue that believed it would be at the service's door without a pause.
    let hint = millis.or_else(seconds).or_else(date).filter(|hint| !hint.is_zero());
    let hint = hint.map(|hint| hint.min(LONGEST_HINT));
    let should_retry = match text("x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    (hint, should_retry)
}

/// The JSON in the first event of a stream: refusals of a streamed request may come in that form with any status.
fn event_in(body: &[u8]) -> Option<Value> {
    let mut parser = super::sse::Parser::new();
    let events = parser.push(body).ok()?;
    let event = events.into_iter().next().or_else(|| parser.finish())?;
    json::value(event.data.as_bytes()).ok()
}

/// An HTTP library's error in one line, without the URL: its query may be a signature.
pub(crate) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        let text = next.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = next.source();
    }
    line
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Something in an answer is not where the protocol has it.
pub(crate) fn missing(what: &str) -> Error {
    Error::unknown("UnreadableAnswer", &format!("the service's answer has no {what}"))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn a_hint_is_seconds_milliseconds_or_a_date_and_never_more_than_ten_minutes() {
        let hint = |name: &'static str, text: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), text.parse().unwrap())]);
            wishes(Some(&headers)).0
        };
        assert_eq!(hint("retry-after", " 7 "), Some(Duration::from_secs(7)));
        assert_eq!(hint("retry-after", "0.25"), Some(Duration::from_millis(250)));
        assert_eq!(hint("retry-after-ms", "150"), Some(Duration::from_millis(150)));
        assert_eq!(hint("retry-after", "1e300"), Some(Duration::from_secs(600)));
        assert_eq!(hint("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT"), Some(Duration::from_secs(600)));
        for nonsense in ["-1", "NaN", "soon", "", "0", "Wed, 01 Jan 2020 00:00:00 GMT"] {
            assert_eq!(hint("retry-after", nonsense), None, "{nonsense}");
        }
    }
}
