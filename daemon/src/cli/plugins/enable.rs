//! `harkd plugins enable`: ends a quarantine in every daemon that runs the plugin.

use std::path::Path;
use std::time::Duration;

use async_nats::{Client, StatusCode, Subscriber};
use futures::StreamExt;

use crate::api::control::{Answer, EnablePlugin};
use crate::broker::Subjects;
use crate::cli::{Exit, print, session, write_json, write_line};
use crate::config::Config;
use crate::pipeline::{Enabled, PluginState};

/// How long to wait for the first answer: loading a library that hangs takes a daemon some ten seconds.
const FIRST: Duration = Duration::from_secs(20);
/// How long to wait for each answer after the first: the other daemons have the same work to do.
const NEXT: Duration = Duration::from_secs(2);

/// Asks every running daemon and prints the answers.
///
/// # Errors
/// A name that the config does not have, no daemon that answers, and a plugin that does not run afterwards.
pub(super) fn execute(config: &Path, name: &str, json: bool) -> Result<(), Exit> {
    let config = Config::load(config)?;
    if !config.plugin.iter().any(|plugin| plugin.name == name) {
        let names: Vec<&str> = config.plugin.iter().map(|plugin| plugin.name.as_str()).collect();
        let known =
            if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        return Err(Exit::Usage(format!("no plugin {name:?} in the config; {known}")));
    }
    session::block_on(enable(&config, name, json))
}

async fn enable(config: &Config, name: &str, json: bool) -> Result<(), Exit> {
    let connection = session::open(config).await?;
    let answers = ask(&connection.client(), &Subjects::new(&config.nats.subject_prefix), name).await?;
    print(|out| {
        if json {
            return write_json(out, &answers);
        }
        for Answer { daemon, outcome } in &answers {
            let line = match outcome {
                None => format!("{daemon}: has no plugin {name:?}"),
                Some(Enabled { was, state, .. }) if was == state => {
                    format!("{daemon}: {name} is {}", state.as_str())
                }
                Some(Enabled { was, state, .. }) => {
                    format!("{daemon}: {name} was {}, is {}", was.as_str(), state.as_str())
                }
            };
            write_line(out, &line)?;
        }
        Ok(())
    })?;
    let known: Vec<_> = answers.iter().filter_map(|answer| answer.outcome.as_ref()).collect();
    match known.iter().find(|plugin| plugin.state != PluginState::Running) {
        Some(failed) => {
            Err(Exit::Failed(failed.reason.clone().unwrap_or_else(|| format!("{name} does not run"))))
        }
        None if known.is_empty() => Err(Exit::Failed(format!(
            "no running daemon has the plugin {name:?}; restart it to read the config"
        ))),
        None => Ok(()),
    }
}

async fn ask(client: &Client, subjects: &Subjects, plugin: &str) -> Result<Vec<Answer>, Exit> {
    let unavailable =
        |error: &dyn std::fmt::Display| Exit::Unavailable(format!("asking the daemons: {error}"));
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.map_err(|error| unavailable(&error))?;
    let request = serde_json::to_vec(&EnablePlugin { plugin: plugin.to_owned() })
        .map_err(|error| Exit::Software(error.to_string()))?;
    client
        .publish_with_reply(subjects.enable_plugin(), inbox, request.into())
        .await
        .map_err(|error| unavailable(&error))?;
    let mut answers = Vec::new();
    while let Some(answer) = next(&mut replies, if answers.is_empty() { FIRST } else { NEXT }).await {
        answers.push(answer);
    }
    if answers.is_empty() {
        return Err(Exit::Unavailable(format!(
            "no running harkd answers on {}; start it (then every plugin begins anew), or grant its NATS user the subject",
            subjects.enable_plugin()
        )));
    }
    Ok(answers)
}

/// The next answer of a daemon; `None` when none arrives in time.
async fn next(replies: &mut Subscriber, patience: Duration) -> Option<Answer> {
    let answer = async {
        loop {
            let reply = replies.next().await?;
            if reply.status == Some(StatusCode::NO_RESPONDERS) {
                return None;
            }
            // A stream that captures the subject acknowledges the request: such a reply is not a daemon's answer.
            if let Ok(answer) = serde_json::from_slice(&reply.payload) {
                return Some(answer);
            }
        }
    };
    tokio::time::timeout(patience, answer).await.ok().flatten()
}
