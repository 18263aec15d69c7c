//! What every recognizer that uses HTTP needs: connections that resend nothing by themselves, bodies that are read from disk while they are
//! sent, answers of limited length, and errors that record whether the service may have taken the request.
//!
//! There are two clients, which follow no redirects: one for free calls and results, and one for paid requests and uploads, which use a
//! new connection each. Only a request that `Key::authorize` was asked for carries the key.

mod body;
mod key;
mod retry_after;

use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response};
use tracing::trace;

pub use self::body::Content;
pub(crate) use self::body::{Departure, Outgoing};
pub use self::key::Key;
pub(crate) use self::retry_after::retry_after;
pub(crate) use crate::telemetry::causes;

use super::error::{Error, When};
use crate::config::{PrivateOnly, http_client};

/// Time limits of the network.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Without progress in either direction.
    pub idle: Duration,
    /// While a stream sends only signs of life (comments, events without new text).
    pub silence: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { idle: Duration::from_secs(60), silence: Duration::from_secs(300) }
    }
}

/// No HTTP client can be made: no root certificates, no TLS library.
#[derive(Debug, thiserror::Error)]
#[error(
    "no HTTP client can be made: {0}; are the system's CA certificates installed (package ca-certificates)?"
)]
pub struct BuildError(String);

const TO_CONNECT: Duration = Duration::from_secs(10);

/// For a whole call that costs nothing.
pub(crate) const FREE_CALL: Duration = Duration::from_secs(30);

/// Idle connections are closed before the shortest common keep-alive (5 s) of servers ends.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// A server may close a connection at the very moment at which the client uses it again. A paid request that is lost in this way has an
/// unknown fate; and an upload, which follows its policy at once, would be lost each time if one server answers both and closes the
/// connection after each. A new connection costs some round trips; recognition and uploads take seconds.
const NO_REUSE: usize = 0;

/// Media types of an answer.
pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// The clients of one service.
#[derive(Debug)]
pub(crate) struct Http {
    /// For paid requests, and for uploads.
    pub(crate) fresh: Client,
    /// For free calls, and for results.
    pub(crate) pooled: Client,
    pub(crate) timeouts: Timeouts,
}

impl Http {
    /// `is_plain`: the service's address is http, and no missing root certificate prevents the start. `proxy`: whether a proxy of the
    /// environment (`HTTPS_PROXY`, `NO_PROXY`) is used.
    pub(crate) fn new(is_plain: bool, proxy: bool, timeouts: Timeouts) -> Result<Http, BuildError> {
        Http::with(is_plain, timeouts, |builder| if proxy { builder } else { builder.no_proxy() })
    }

    /// For an http address that may be of this machine or of a private network only: a name that has another address is not connected
    /// to. An address in place of a name is the caller's to check.
    pub(crate) fn within(timeouts: Timeouts) -> Result<Http, BuildError> {
        Http::with(true, timeouts, |builder| builder.no_proxy().dns_resolver(PrivateOnly))
    }

    fn with(
        is_plain: bool,
        timeouts: Timeouts,
        adapt: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Http, BuildError> {
        let builder = |idle_connections: usize| {
            let builder = http_client()
                .connect_timeout(TO_CONNECT)
                .pool_idle_timeout(KEEP_ALIVE)
                .pool_max_idle_per_host(idle_connections);
            adapt(builder)
        };
        let build = |idle_connections: usize| {
            let built = builder(idle_connections).build().or_else(|error| match is_plain {
                true => builder(idle_connections).tls_certs_only([]).build(),
                false => Err(error),
            });
            built.map_err(|error| BuildError(causes(error)))
        };
        Ok(Http { fresh: build(NO_REUSE)?, pooled: build(usize::MAX)?, timeouts })
    }

    /// Sends a request with a body that may be long: there is no time limit while the body makes progress.
    ///
    /// # Errors
    /// No answer came; the error records whether the service may have the request.
    pub(crate) async fn send(&self, request: RequestBuilder, outgoing: Outgoing) -> Result<Response, Error> {
        let Outgoing { body, mut departure } = outgoing;
        let request = request.header(CONTENT_LENGTH, departure.length()).body(body);
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
                    // Never the query: it may grant the right to read what the URL names.
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
}

/// Whether an answer is a stream of events; a request for one may be answered, or refused, in plain JSON.
pub(crate) fn is_event_stream(response: &Response) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| content_type.starts_with(EVENT_STREAM))
}

/// Returns once the server has been silent for this long. A process that was stopped, or a machine that slept, finds the time over before it has
/// read an answer that has arrived. So the daemon waits a moment longer and reads that answer, which would otherwise be paid for again.
async fn patience(silence: Duration) {
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
    if let Some(error) = departure.cut_off() {
        return error;
    }
    if connecting {
        return Error::not_sent(&format!("the service was not reached: {causes}"));
    }
    if departure.sent() >= departure.length() {
        return Error::open("NoAnswer", &format!("the request left and no answer came: {causes}"));
    }
    let sent = departure.sent();
    let message = format!("the connection broke after {sent} bytes of the request: {causes}");
    Error { when: When::PASSED, ..Error::not_sent(&message) }
}
