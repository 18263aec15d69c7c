//! The connection to the service: addresses, the key, time limits, and requests on their way. `answer` reads what comes back.
//!
//! Three HTTP clients. Two follow no redirects: one for the API's free calls, and one for what costs and for uploads, which leave on
//! connections of their own. The third fetches results on hosts that the service names: it never sees the key. None resends anything by
//! itself, and an environment proxy (`HTTPS_PROXY`, `NO_PROXY`) is used unless the API is on this machine.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client as Http, ClientBuilder, RequestBuilder, Response, Url};
use tracing::trace;

use super::body::{Departure, Left, Outgoing};
use super::error::Error;
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

/// A server may close a connection at the very moment at which it is used again. A paid request that was lost so has an unknown fate,
/// and an upload, which follows its policy at once, would be lost so every time where one server answers both and closes after each.
/// A fresh connection takes some round trips more; recognition and uploads take seconds.
const NEVER_AGAIN: usize = 0;

/// Forms of an answer.
pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Redirects that a result's host may answer with.
const RESULT_REDIRECTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Client {
    fresh: Http,
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
            fresh: build(&|| builder(Policy::none()).pool_max_idle_per_host(NEVER_AGAIN)).map_err(tls)?,
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
        self.with_key(self.fresh.post(format!("{}{path}", self.base)))
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

    /// The client for uploads: follows no redirects, uses no connection twice, and adds no key, which their host must not see.
    pub(crate) fn uploads(&self) -> &Http {
        &self.fresh
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
                () = patience(self.timeouts.idle) => {
                    let seconds = self.timeouts.idle.as_secs();
                    return Err(lost(false, format!("nothing moved for {seconds} s"), departure));
                }
            }
        }
    }

    /// An error that does not show the key, should the service have echoed it.
    pub(crate) fn masked(&self, error: Error) -> Error {
        error.without(self.key.read().unwrap_or_else(PoisonError::into_inner).reveal())
    }

    /// Reads the key's file again, if it came from one: the operator may have put a good one there. What is no key changes nothing.
    pub(crate) async fn reread_key(&self) {
        let Some(path) = &self.key_file else { return };
        match tokio::fs::read_to_string(path).await {
            Ok(text) => {
                let key = Secret::new(&text);
                if key.is_token() {
                    *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
                } else {
                    let reason = key.oddity().unwrap_or("is none");
                    tracing::warn!(path = %path.display(), reason, "the API key's file holds no key; keeping the old key");
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the API key's file cannot be read; keeping the old key")
            }
        }
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

/// Waits for a silence to last this long. A process that was stopped, or a machine that slept, finds the time over and the answer before
/// it: what lies there is read in the moment after it, and is not paid for again.
pub(crate) async fn patience(silence: Duration) {
    const MOMENT: Duration = Duration::from_millis(500);
    tokio::time::sleep(silence).await;
    tokio::time::sleep(MOMENT).await;
}

/// A call that costs nothing got no answer.
pub(crate) fn unanswered(error: reqwest::Error) -> Error {
    if error.is_connect() {
        Error::not_sent(&format!("the service was not reached: {}", causes(error)))
    } else {
        Error::again("NoAnswer", &format!("the service did not answer: {}", causes(error)))
    }
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
