//! What every recognizer that speaks HTTP needs: connections that resend nothing by themselves, bodies that are read from disk while
//! they leave, answers of bounded length, and errors that know whether a request may have been taken.
//!
//! Three clients. Two follow no redirects: one for an API's free calls, and one for what costs and for uploads, which leave on
//! connections of their own. The third fetches from hosts that the service names: it never sees a key. An environment proxy
//! (`HTTPS_PROXY`, `NO_PROXY`) is used unless the API is on this machine.

mod body;
mod key;
mod retry_after;

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, Url};
use tracing::trace;

pub use self::body::Content;
pub(crate) use self::body::{Departure, Outgoing};
pub(crate) use self::key::Key;
pub(crate) use self::retry_after::{RetryAfter, retry_after};

use super::error::Error;

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

/// How much of a refusal is read for its code.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// The connections of one service.
#[derive(Debug)]
pub(crate) struct Http {
    /// For what costs, and for uploads.
    pub(crate) fresh: Client,
    /// For the API's free calls.
    pub(crate) api: Client,
    /// For hosts that must not see the key.
    pub(crate) storage: Client,
    pub(crate) timeouts: Timeouts,
}

/// The body of an answer, and why it is not all of it.
pub(crate) struct Partial {
    pub(crate) body: Vec<u8>,
    pub(crate) broken: Option<Error>,
}

impl Http {
    /// `base`: the API's address.
    pub(crate) fn new(base: &Url, timeouts: Timeouts) -> Result<Http, BuildError> {
        // Already installed by another part of the daemon: the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = |redirects: Policy| {
            let builder = Client::builder()
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
            if is_loopback(base) { builder.no_proxy() } else { builder }
        };
        let build = |builder: &dyn Fn() -> ClientBuilder| {
            let built = builder().build().or_else(|error| {
                // Where the API is plain http (a stand-in), missing root certificates are no reason not to start.
                if base.scheme() == "https" { Err(error) } else { builder().tls_certs_only([]).build() }
            });
            built.map_err(|error| BuildError::Tls(causes(error)))
        };
        Ok(Http {
            fresh: build(&|| builder(Policy::none()).pool_max_idle_per_host(NEVER_AGAIN))?,
            api: build(&|| builder(Policy::none()))?,
            storage: build(&|| builder(Policy::limited(RESULT_REDIRECTS)))?,
            timeouts,
        })
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

    /// As [`Http::send`], for a request that has its body already.
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

    /// The next piece of an answer's body; `None` at its end.
    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Error> {
        tokio::select! {
            biased;
            chunk = response.chunk() => chunk.map_err(|error| {
                Error::open("ConnectionLost", &format!("the answer broke off: {}", causes(error)))
            }),
            () = patience(self.timeouts.idle) => {
                let seconds = self.timeouts.idle.as_secs();
                Err(Error::open("TimeOut", &format!("the answer stood still for {seconds} s")))
            }
        }
    }

    /// Reads the rest of an answer into `body`, which becomes no longer than `limit`.
    ///
    /// # Errors
    /// It broke off, or is longer. What came of it is in `body`.
    pub(crate) async fn body(
        &self,
        response: &mut Response,
        body: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Error> {
        while let Some(chunk) = self.chunk(response).await? {
            if body.len() + chunk.len() > limit {
                return Err(Error::unreadable(&format!("the service's answer is longer than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// As much of a refusal as comes, and as is read of one.
    pub(crate) async fn refusal(&self, response: &mut Response) -> Partial {
        let mut body = Vec::new();
        while body.len() < MAX_REFUSAL_BYTES {
            match self.chunk(response).await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Partial { body, broken: Some(error) },
            }
        }
        body.truncate(MAX_REFUSAL_BYTES);
        Partial { body, broken: None }
    }
}

/// An address of an API: `http` or `https`, without a slash at its end.
///
/// # Errors
/// It is none.
pub(crate) fn address(text: &str) -> Result<Url, BuildError> {
    let text = text.trim_end_matches('/');
    let url = Url::parse(text).map_err(|_| BuildError::Address(text.to_owned()))?;
    match matches!(url.scheme(), "http" | "https") && url.host_str().is_some() {
        true => Ok(url),
        false => Err(BuildError::Address(text.to_owned())),
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
        Error::open("NoAnswer", &format!("the service did not answer: {}", causes(error)))
    }
}

/// A request that was not answered. Only a body that left whole can have been taken; one that broke off on its way is free to
/// repeat, but not for ever: it may be this very request that the network does not let through.
fn lost(connecting: bool, causes: String, departure: &Departure) -> Error {
    if let Some(error) = departure.fault() {
        return error;
    }
    if connecting {
        return Error::not_sent(&format!("the service was not reached: {causes}"));
    }
    if departure.is_whole() {
        return Error::open("NoAnswer", &format!("the request left and no answer came: {causes}"));
    }
    let sent = departure.sent();
    Error::cut_short(&format!("the connection broke after {sent} bytes of the request: {causes}"))
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
