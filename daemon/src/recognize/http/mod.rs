//! What every recognizer that uses HTTP needs: connections that resend nothing by themselves, bodies that are read from disk while they are
//! sent, answers of limited length, and errors that record whether the service may have taken the request.
//!
//! There are three clients. Two follow no redirects: one for an API's free calls, and one for paid requests and uploads, which use a new
//! connection each. The third fetches from hosts that the service names: it never gets a key. A proxy of the environment (`HTTPS_PROXY`,
//! `NO_PROXY`) is used unless the API is on this machine.

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

/// Time limits of the network.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To connect to a host.
    pub connect: Duration,
    /// Without progress in either direction.
    pub idle: Duration,
    /// For a whole call that costs nothing.
    pub call: Duration,
    /// While a stream sends only signs of life (comments, events without new text).
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

/// An address or TLS setting for which no client can be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `dashscope.base_url` is not the URL of a host.
    #[error("dashscope.base_url {0:?} is not an http or https address; write it up to and including /api/v1")]
    Address(String),
    /// No root certificates, no TLS library.
    #[error(
        "no TLS client can be made: {0}; are the system's CA certificates installed (package ca-certificates)?"
    )]
    Tls(String),
}

/// Idle connections are closed before the shortest common keep-alive (5 s) of servers ends.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// A server may close a connection at the very moment at which the client uses it again. A paid request that is lost in this way has an
/// unknown fate; and an upload, which follows its policy at once, would be lost each time if one server answers both and closes the
/// connection after each. A new connection costs some round trips; recognition and uploads take seconds.
const NEVER_AGAIN: usize = 0;

/// Media types of an answer.
pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// The most redirects that are followed to a result.
const RESULT_REDIRECTS: usize = 3;

/// How much of a refusal is read for its code.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// The clients of one service.
#[derive(Debug)]
pub(crate) struct Http {
    /// For paid requests, and for uploads.
    pub(crate) fresh: Client,
    /// For the API's free calls.
    pub(crate) api: Client,
    /// For hosts that must not receive the key.
    pub(crate) storage: Client,
    pub(crate) timeouts: Timeouts,
}

/// The body of an answer, and why it is incomplete, if it is.
pub(crate) struct Partial {
    pub(crate) body: Vec<u8>,
    pub(crate) broken: Option<Error>,
}

impl Http {
    /// `base`: the API's address.
    pub(crate) fn new(base: &Url, timeouts: Timeouts) -> Result<Http, BuildError> {
        // An error means that another part of the daemon installed the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = |redirects: Policy| {
            let builder = Client::builder()
                .user_agent(concat!("harkd/", env!("CARGO_PKG_VERSION")))
                // A request without Accept-Encoding allows every coding, and a server that compresses a stream may delay its parts.
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
                // If the API is plain http (a local substitute), missing root certificates do not prevent the start.
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

    /// Sends a request with a body that may be long: there is no time limit while the body makes progress.
    ///
    /// # Errors
    /// No answer came; the error records whether the service may have the request.
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

    /// As [`Http::send`], for a request that already has its body.
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
                    // Never log the query: it may grant the right to read the URL's content.
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

    /// The next part of an answer's body; `None` at its end.
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

    /// Reads the rest of an answer into `body`, up to `limit` bytes.
    ///
    /// # Errors
    /// The answer broke off, or is longer. `body` has what arrived.
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

    /// The body of a refusal, as far as it arrives and is within the limit.
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

/// Parses the address of an API: `http` or `https`; a slash at the end is removed.
///
/// # Errors
/// The text is not such an address.
pub(crate) fn address(text: &str) -> Result<Url, BuildError> {
    let text = text.trim_end_matches('/');
    let url = Url::parse(text).map_err(|_| BuildError::Address(text.to_owned()))?;
    match matches!(url.scheme(), "http" | "https") && url.host_str().is_some() {
        true => Ok(url),
        false => Err(BuildError::Address(text.to_owned())),
    }
}

/// Returns when a silence has lasted this long. After a process was stopped, or a machine slept, the time is over before the waiting answer
/// is read: one moment more lets the answer be read, so that it is not paid for again.
pub(crate) async fn patience(silence: Duration) {
    const MOMENT: Duration = Duration::from_millis(500);
    tokio::time::sleep(silence).await;
    tokio::time::sleep(MOMENT).await;
}

/// The error of a free call that got no answer.
pub(crate) fn unanswered(error: reqwest::Error) -> Error {
    if error.is_connect() {
        Error::not_sent(&format!("the service was not reached: {}", causes(error)))
    } else {
        Error::open("NoAnswer", &format!("the service did not answer: {}", causes(error)))
    }
}

/// The error of a request that got no answer. The service can only have taken a body that was sent whole; a request that broke off is free
/// to repeat, but not for ever: the network may fail on this very request.
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

/// An HTTP library's error in one line, without the URL, whose query may be a signature.
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
