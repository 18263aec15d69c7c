//! `harkd webhooks`: asks the running daemons; the daemon that delivers a webhook answers for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::daemons::{Answers, Refused, ask};
use super::{Exit, ListOr, print, session, write_json, write_line};
use crate::api::service::Identity;
use crate::api::steer::webhooks::{Listed, Resumed, Retried};
use crate::config::Config;
use crate::counted::counted;
use crate::publish::webhooks::{Tested, View};

/// How long to wait for a daemon: a receiver has ten seconds for its answer to a test event.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show each webhook: whether it is paused, what waits, what was set aside (the default)
    List,
    /// Send a test event, hark.webhook.test; ends with 1 if it is not taken
    Test {
        /// The webhook's name in the config
        name: String,
    },
    /// Send again what was set aside, and at once what waits to be tried again
    Retry {
        /// The webhook's name in the config
        name: String,
    },
    /// End a pause, for every daemon
    Resume {
        /// The webhook's name in the config
        name: String,
    },
}

pub fn execute(config: &Path, args: &ListOr<Command>) -> Result<(), Exit> {
    let config = Config::load(config)?;
    session::block_on(async {
        match &args.command {
            None | Some(Command::List) => list(&config, args.json).await,
            Some(Command::Test { name }) => {
                let tested: Tested = steer(&config, "test", name, args.json, |tested: &Tested| {
                    let ms = tested.elapsed_ms;
                    match tested.taken {
                        true => format!("{name}: the test event was taken ({ms} ms)"),
                        false => format!("{name}: the test event was not taken: {} ({ms} ms)", tested.answer),
                    }
                })
                .await?;
                match tested.taken {
                    true => Ok(()),
                    false => Err(Exit::Failed(format!("the receiver of {name:?} does not take events"))),
                }
            }
            Some(Command::Retry { name }) => {
                let say = |&Retried { events, is_paused }: &Retried| {
                    let found = match events {
                        0 => "nothing was set aside".to_owned(),
                        _ => format!("{} had been set aside", counted(events, "event")),
                    };
                    let then = match is_paused {
                        true => format!(
                            "the webhook is paused, and sends again after: harkd webhooks resume {name}"
                        ),
                        false => "waiting events are sent now".to_owned(),
                    };
                    format!("{name}: {found}; {then}")
                };
                steer(&config, "retry", name, args.json, say).await.map(|_| ())
            }
            Some(Command::Resume { name }) => {
                let say = |resumed: &Resumed| match resumed.was_paused {
                    true => format!("{name} goes on"),
                    false => format!("{name} was not paused"),
                };
                steer(&config, "resume", name, args.json, say).await.map(|_| ())
            }
        }
    })
}

async fn list(config: &Config, as_json: bool) -> Result<(), Exit> {
    let answers = ask(config, "webhooks.list", &json!({}), PATIENCE).await?;
    let rows = by_name(&answers)?;
    print(|out| {
        if as_json {
            let rows = rows.values().map(|(daemon, view)| {
                let mut row = serde_json::to_value(view).unwrap_or_default();
                (row["daemon"], row["host"]) = (json!(daemon.daemon), json!(daemon.host));
                row
            });
            return write_json(out, &rows.collect::<Vec<Value>>());
        }
        if rows.is_empty() {
            return write_line(out, "no running daemon has a [[webhook]]");
        }
        for (daemon, view) in rows.values() {
            in_words(daemon, view).iter().try_for_each(|line| write_line(out, line))?;
        }
        Ok(())
    })?;
    answers.is_complete()
}

/// Each webhook as its delivering daemon reports it; if no daemon delivers it, as any daemon reports it.
fn by_name(answers: &Answers) -> Result<BTreeMap<String, (&Identity, View)>, Exit> {
    let mut rows: BTreeMap<String, (&Identity, View)> = BTreeMap::new();
    for (daemon, answer) in &answers.of {
        let listed =
            answer.as_ref().map_err(|refused| Exit::Unavailable(format!("{daemon}: {}", refused.message)))?;
        for view in read::<Listed>(daemon, listed)?.webhooks {
            let is_better =
                rows.get(&view.name).is_none_or(|(_, known)| view.delivering && !known.delivering);
            if is_better {
                rows.insert(view.name.clone(), (daemon, view));
            }
        }
    }
    Ok(rows)
}

fn in_words(daemon: &Identity, view: &View) -> Vec<String> {
    let state = match (&view.paused, view.delivering) {
        (Some(paused), _) => {
            let (at, why, name) = (paused.at, &paused.why, &view.name);
            format!("PAUSED at {at:.0}: {why}; mend the receiver, then: harkd webhooks resume {name}")
        }
        (None, true) => format!("delivered by {daemon}"),
        (None, false) => "delivered by no daemon yet".to_owned(),
    };
    let mut lines = vec![format!("{}  {}  {state}", view.name, view.receiver)];
    let mut say = |line: String| lines.push(format!("  {line}"));
    if view.delivering {
        say(format!("not taken yet: {}", counted(view.backlog, "event")));
    }
    if let Some(at) = view.last_taken {
        say(format!("last event taken at {at:.0}"));
    }
    if let Some(failure) = &view.last_failure {
        say(format!("last failure at {:.0}: {}", failure.at, failure.answer));
    }
    if view.removed > 0 {
        say(format!(
            "removed by the stream's limits before it was sent: up to {}",
            counted(view.removed, "event")
        ));
    }
    for line in &view.waiting {
        let due = line.due.filter(|_| view.paused.is_none());
        let due = due.map(|due| format!(", next try at {due:.0}")).unwrap_or_default();
        let events = counted(line.events, "event");
        say(format!("job {} ({}): {events}{due}: {}", line.job, line.source, line.answer));
    }
    for line in &view.set_aside {
        let events = counted(line.events, "event");
        say(format!("job {} ({}): {events} SET ASIDE: {}", line.job, line.source, line.answer));
    }
    lines
}

/// Has the daemon that delivers the webhook do it, and prints its answer.
async fn steer<A: DeserializeOwned>(
    config: &Config,
    verb: &str,
    name: &str,
    as_json: bool,
    say: impl Fn(&A) -> String,
) -> Result<A, Exit> {
    let answers = ask(config, &format!("webhooks.{verb}"), &json!({ "name": name }), PATIENCE).await?;
    if let Some((daemon, answer)) =
        answers.of.iter().find_map(|(daemon, answer)| Some((daemon, answer.as_ref().ok()?)))
    {
        let done = read::<A>(daemon, answer)?;
        print(|out| if as_json { write_json(out, answer) } else { write_line(out, &say(&done)) })?;
        return Ok(done);
    }
    answers.is_complete()?;
    let refused = answers.of.values().filter_map(|answer| answer.as_ref().err());
    match refused.max_by_key(|refused| refused.code) {
        Some(Refused { code: 404, .. }) | None => {
            Err(Exit::Failed(format!("no running daemon has the webhook {name:?}")))
        }
        Some(refused) => Err(Exit::Unavailable(refused.message.clone())),
    }
}

fn read<A: DeserializeOwned>(daemon: &Identity, answer: &Value) -> Result<A, Exit> {
    serde_json::from_value(answer.clone())
        .map_err(|error| Exit::Software(format!("the answer of {daemon} cannot be read: {error}")))
}
