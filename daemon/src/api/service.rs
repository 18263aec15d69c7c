//! The NATS micro service `hark` takes an operator's requests to the running daemons. Each daemon has a queue group of its own, so every daemon
//! receives each request and answers for its own jobs; `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` list the daemons.

mod endpoints;

use async_nats::service::{PingResponse, Request, ServiceExt, error};
use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::SelectAll;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use self::endpoints::{Handler, endpoints};
use super::steer::{Refusal, Steer};
use crate::broker::Subjects;

/// The name of the service: the same for every prefix and daemon.
pub const NAME: &str = "hark";
/// Where every service of this name says what it is.
pub const PING: &str = "$SRV.PING.hark";
/// The header of an answer that has the id of the daemon which answers.
pub const DAEMON: &str = "Hark-Daemon";
/// The header of an answer that has the daemon's host.
pub const HOST: &str = "Hark-Host";

/// Requests that are carried out at a time. One may take as long as a plugin that hangs while it is loaded.
const AT_A_TIME: usize = 16;

/// A running daemon, as the metadata of the service and the headers of answers name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Daemon")]
pub struct Identity {
    /// Id in its ledger: it outlives restarts.
    pub daemon: String,
    /// Name of the machine.
    pub host: String,
}

impl Identity {
    /// Of this process, whose ledger has the id `daemon`.
    pub fn own(daemon: Uuid) -> Identity {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Identity { daemon: daemon.to_string(), host: host.trim().to_owned() }
    }

    /// The id of the daemon that answers a ping, if it has this prefix.
    pub fn of_ping(answer: &Message, prefix: &str) -> Option<Identity> {
        let mut metadata = serde_json::from_slice::<PingResponse>(&answer.payload).ok()?.metadata;
        let is_ours = metadata.get("prefix").is_some_and(|other| other == prefix);
        let daemon = metadata.remove("daemon").filter(|_| is_ours)?;
        Some(Identity { daemon, host: metadata.remove("host").unwrap_or_default() })
    }
}

/// The names of all requests: the ends of their subjects.
pub fn names() -> impl Iterator<Item = &'static str> {
    endpoints().into_iter().map(|(name, _)| name)
}

/// Answers requests until `stop`. If the broker is away, or refuses the subscription to some subjects, the other subjects still work: the
/// client subscribes again on each connection.
///
/// # Errors
/// When the NATS client is closed for good.
pub async fn serve(
    client: Client,
    prefix: &str,
    identity: Identity,
    steer: Steer,
    stop: CancellationToken,
) -> Result<(), async_nats::Error> {
    let Identity { daemon, host } = identity.clone();
    let metadata = [("prefix", prefix.to_owned()), ("daemon", daemon.clone()), ("host", host)];
    let service = client
        .service_builder()
        .description("Recordings become transcripts: jobs, sources and plugins of a running harkd")
        .metadata(metadata.map(|(key, value)| (key.to_owned(), value)).into())
        .queue_group(&daemon)
        .start(NAME, env!("CARGO_PKG_VERSION"))
        .await?;
    let group = service.group(Subjects::new(prefix).control());
    let mut requests = SelectAll::new();
    for (name, handler) in endpoints() {
        // A name has no dots.
        let endpoint = group.endpoint_builder().name(name.replace('.', "-")).add(name).await?;
        requests.push(endpoint.map(move |request| (handler.clone(), request)));
    }
    let answers = requests.for_each_concurrent(AT_A_TIME, |(handler, request)| {
        answer(handler, request, &identity, steer.clone())
    });
    // A daemon that stops does not wait for an answer: loading a library that hangs takes some ten seconds.
    tokio::select! {
        () = answers => {}
        () = stop.cancelled() => {}
    }
    service.stop().await
}

async fn answer(handler: Handler, request: Request, identity: &Identity, steer: Steer) {
    if request.message.reply.is_none() {
        return;
    }
    let outcome = handler(steer, request.message.payload.clone()).await;
    if let Err(refusal) = &outcome {
        debug!(subject = %request.message.subject, code = refusal.code(), %refusal, "a request is refused");
    }
    if let Err(error) = respond(&request, outcome, identity).await {
        warn!(subject = %request.message.subject, %error, "an answer cannot be sent");
        let refusal = Refusal::Bad(format!("the answer cannot be sent: {error}; ask for less"));
        // If the connection is gone, the client gets no answer.
        let _ = respond(&request, Err(refusal), identity).await;
    }
}

async fn respond(
    request: &Request,
    outcome: Result<Bytes, Refusal>,
    identity: &Identity,
) -> Result<(), async_nats::PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert(DAEMON, identity.daemon.as_str());
    headers.insert(HOST, identity.host.as_str());
    let outcome = outcome.map_err(|refusal| error::Error {
        code: usize::from(refusal.code()),
        // A header is one line.
        status: refusal.to_string().replace(['\r', '\n'], " "),
    });
    request.respond_with_headers(outcome, headers).await
}
