//! Asks the running daemons over their NATS service, and gathers the answers of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{Message, StatusCode};
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{Exit, say, session};
use crate::api::service::{DAEMON, HOST, Identity, PING};
use crate::broker::Subjects;
use crate::config::Config;

/// How long to wait for a daemon that the list of running services names.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The answers are complete when every listed daemon has answered, and no further daemon was listed or has answered for this long.
const QUIET: Duration = Duration::from_millis(250);

/// What the running daemons answered.
#[derive(Debug)]
pub struct Answers {
    /// By daemon.
    pub of: BTreeMap<Identity, Result<Value, Refused>>,
    /// Daemons that are listed and did not answer in time.
    pub silent: BTreeSet<Identity>,
    subject: String,
}

/// A daemon's refusal: its code is that of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub code: u16,
    pub message: String,
}

/// Asks every running daemon of the config's prefix, and waits at most `patience` for each.
///
/// # Errors
/// 69 when NATS or every daemon is away, or NATS refuses the request.
pub async fn ask(
    config: &Config,
    request: &str,
    body: &impl Serialize,
    patience: Duration,
) -> Result<Answers, Exit> {
    let unavailable =
        |error: &dyn std::fmt::Display| Exit::Unavailable(format!("asking the daemons: {error}"));
    let subject = Subjects::new(&config.nats.subject_prefix).request(request);
    let body = serde_json::to_vec(body).map_err(|error| Exit::Software(error.to_string()))?;
    let connection = session::open(config).await?;
    let client = connection.client();
    let (mut refusals, mut unlisted) = (connection.refusals().listen(), connection.refusals().listen());
    let (listing, replying) = (client.new_inbox(), client.new_inbox());
    let mut listed = client.subscribe(listing.clone()).await.map_err(|error| unavailable(&error))?;
    let mut replies = client.subscribe(replying.clone()).await.map_err(|error| unavailable(&error))?;
    let ping = PING.to_owned();
    client.publish_with_reply(ping.clone(), listing, "".into()).await.map_err(|error| unavailable(&error))?;
    client
        .publish_with_reply(subject.clone(), replying, body.into())
        .await
        .map_err(|error| unavailable(&error))?;

    let (asked, pinged) = ([subject.as_str()], [ping.as_str()]);
    let mut answers = Answers { of: BTreeMap::new(), silent: BTreeSet::new(), subject: subject.clone() };
    let began = Instant::now();
    let (mut last, mut is_listed) = (began, true);
    loop {
        let is_complete = !answers.of.is_empty() && answers.silent.is_empty();
        let until = if is_complete { last + QUIET } else { began + patience };
        tokio::select! {
            Some(message) = listed.next() => {
                if let Some(daemon) = Identity::of_ping(&message, &config.nats.subject_prefix)
                    && !answers.of.contains_key(&daemon)
                {
                    answers.silent.insert(daemon);
                    last = Instant::now();
                }
            }
            Some(reply) = replies.next() => {
                if reply.status == Some(StatusCode::NO_RESPONDERS) {
                    return Err(answers.none());
                }
                // A stream that captures the subject acknowledges the request; such a reply is not the answer of a daemon.
                if let Some((daemon, answer)) = read(&reply) {
                    answers.silent.remove(&daemon);
                    answers.of.insert(daemon, answer);
                    last = Instant::now();
                }
            }
            refused = refusals.naming(&asked) => return Err(unavailable(&refused)),
            refused = unlisted.naming(&pinged), if is_listed => {
                is_listed = false;
                say(&format!("harkd: a daemon that does not answer cannot be named: {refused}"));
            }
            () = sleep_until(until) => break,
        }
    }
    match answers.of.is_empty() {
        true => Err(answers.none()),
        false => Ok(answers),
    }
}

impl Answers {
    /// The answer of the one daemon that has what the request is about; `what` names it, such as `job 01…`.
    ///
    /// # Errors
    /// 64 for a request that daemons cannot read; 1 for another refusal, or if no daemon has it; 69 if a daemon that did not answer may have it.
    pub fn of_its_daemon(self, what: &str) -> Result<(Identity, Value), Exit> {
        let mut refusals = Vec::new();
        let silent = self.is_complete();
        for (daemon, answer) in self.of {
            match answer {
                Ok(answer) => return Ok((daemon, answer)),
                Err(refused) => refusals.push((daemon, refused)),
            }
        }
        match refusals.into_iter().find(|(_, refused)| refused.code != 404) {
            Some((_, Refused { code: 400, message })) => Err(Exit::Usage(message)),
            Some((daemon, Refused { message, .. })) => {
                Err(Exit::Failed(format!("{}: {message}", daemon.host)))
            }
            None => silent.and_then(|()| Err(Exit::Failed(format!("no running daemon has {what}")))),
        }
    }

    /// Whether every daemon that is listed has answered.
    ///
    /// # Errors
    /// 69, naming the others.
    pub fn is_complete(&self) -> Result<(), Exit> {
        match self.silent.is_empty() {
            true => Ok(()),
            false => Err(Exit::Unavailable(format!("no answer in time from {}", names(&self.silent)))),
        }
    }

    fn none(&self) -> Exit {
        let subject = &self.subject;
        let who = match self.silent.is_empty() {
            true => "no running harkd answers".to_owned(),
            false => format!("no answer from {}", names(&self.silent)),
        };
        Exit::Unavailable(format!("{who} on {subject}; start it, or grant its NATS user the subject"))
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (daemon {})", self.host, self.daemon)
    }
}

fn names(daemons: &BTreeSet<Identity>) -> String {
    daemons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn read(reply: &Message) -> Option<(Identity, Result<Value, Refused>)> {
    let headers = reply.headers.as_ref()?;
    let get = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let daemon = Identity { daemon: get(DAEMON)?, host: get(HOST).unwrap_or_default() };
    let answer = match get(NATS_SERVICE_ERROR_CODE) {
        Some(code) => Err(Refused {
            code: code.parse().unwrap_or(500),
            message: get(NATS_SERVICE_ERROR).unwrap_or_default(),
        }),
        None => serde_json::from_slice(&reply.payload)
            .map_err(|error| Refused { code: 500, message: format!("the answer cannot be read: {error}") }),
    };
    Some((daemon, answer))
}
