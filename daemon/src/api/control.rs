//! Requests of an operator to the running daemons, over NATS: each daemon that receives a request answers.

use std::sync::Arc;

use async_nats::{Client, Message};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::broker::Subjects;
use crate::pipeline::{Enabled, Pipeline};

/// Asks for a plugin to be enabled, on [`Subjects::enable_plugin`].
#[derive(Debug, Serialize, Deserialize)]
pub struct EnablePlugin {
    /// Its configured name.
    pub plugin: String,
}

/// A daemon's answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Which daemon: its host and process id.
    pub daemon: String,
    /// None where it has no plugin of that name.
    pub outcome: Option<Enabled>,
}

/// Answers until `stop`. If the broker is away or does not grant the subject, the rest of the daemon works on.
///
/// # Errors
/// When the NATS client is closed for good.
pub async fn control(
    client: Client,
    subjects: Subjects,
    pipeline: Arc<Pipeline>,
    stop: CancellationToken,
) -> Result<(), async_nats::SubscribeError> {
    let mut requests = client.subscribe(subjects.enable_plugin()).await?;
    let daemon = name();
    loop {
        let request = tokio::select! {
            Some(request) = requests.next() => request,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(reply) = request.reply.clone() else { continue };
        // Loading a library that hangs takes some ten seconds; a daemon that stops does not have them.
        let answer = tokio::select! {
            answer = answer(&daemon, &pipeline, &request) => answer,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(answer) = answer else { continue };
        let Ok(body) = serde_json::to_vec(&answer) else { continue };
        if let Err(error) = client.publish(reply, body.into()).await {
            debug!(%error, "an answer did not leave");
        }
    }
}

async fn answer(daemon: &str, pipeline: &Pipeline, request: &Message) -> Option<Answer> {
    match serde_json::from_slice::<EnablePlugin>(&request.payload) {
        Ok(EnablePlugin { plugin }) => {
            Some(Answer { daemon: daemon.to_owned(), outcome: pipeline.enable(&plugin).await })
        }
        Err(error) => {
            warn!(subject = %request.subject, %error, "a request cannot be read");
            None
        }
    }
}

fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} (pid {})", host.trim(), std::process::id())
}
