//! `harkd jobs`: the jobs of the running daemons, over their NATS service.

mod list;
mod show;

use std::path::Path;

use clap::Subcommand;
use serde_json::{Value, json};
use uuid::Uuid;

use super::daemons::{PATIENCE, ask};
use super::{Exit, ListOr, print, session, write_json, write_line};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List jobs, newest first (the default)
    List(list::Args),
    /// Show a job with its events
    Show(OfJob),
    /// Recognize a job's recording again, as a new job
    Retry(OfJob),
    /// Cancel a job that has not ended
    Cancel(OfJob),
}

#[derive(Debug, clap::Args)]
pub struct OfJob {
    /// The job's id
    id: Uuid,
}

/// How long to wait for the answer to a cancel: a daemon gives the service ten seconds to drop a task.
const STOPPING: std::time::Duration = std::time::Duration::from_secs(15);

pub fn execute(config: &Path, args: &ListOr<Command>) -> Result<(), Exit> {
    let config = Config::load(config)?;
    session::block_on(async {
        match &args.command {
            None => list::list(&config, &list::Args::default(), args.json).await,
            Some(Command::List(list)) => list::list(&config, list, args.json).await,
            Some(Command::Show(OfJob { id })) => show::show(&config, *id, args.json).await,
            Some(Command::Retry(OfJob { id })) => {
                act(&config, "retry", *id, args.json, |job, answer| {
                    format!(
                        "job {job} is recognized again, as job {}",
                        answer["job"].as_str().unwrap_or_default()
                    )
                })
                .await
            }
            Some(Command::Cancel(OfJob { id })) => {
                act(&config, "cancel", *id, args.json, |job, answer| {
                    let message = answer["error"]["message"].as_str().unwrap_or("it is canceled");
                    format!("job {job}: {message}; it cost {}", usd(&answer["cost_usd"]))
                })
                .await
            }
        }
    })
}

async fn act(
    config: &Config,
    what: &str,
    id: Uuid,
    as_json: bool,
    line: impl Fn(Uuid, &Value) -> String,
) -> Result<(), Exit> {
    let answers = ask(config, &format!("jobs.{what}"), &json!({ "job": id }), STOPPING.max(PATIENCE)).await?;
    let (daemon, mut answer) = answers.of_its_daemon(&format!("job {id}"))?;
    print(|out| {
        if as_json {
            answer["daemon"] = json!(daemon.daemon);
            return write_json(out, &answer);
        }
        write_line(out, &line(id, &answer))
    })?;
    Ok(())
}

/// Dollars, small amounts with as many digits as tell something; as the live page writes them.
fn dollars(usd: f64) -> String {
    let digits = match usd {
        _ if usd == 0.0 || usd >= 1.0 => 2,
        _ if usd >= 0.01 => 3,
        _ => 6,
    };
    format!("${usd:.digits$}")
}

/// An amount for a person.
fn usd(value: &Value) -> String {
    value.as_f64().map_or_else(|| "an unknown amount".to_owned(), dollars)
}
