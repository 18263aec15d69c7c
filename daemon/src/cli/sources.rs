//! `harkd sources`: the sources of the running daemons, over their NATS service.

use std::path::Path;

use clap::Subcommand;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::daemons::{Answers, PATIENCE, Refused, ask};
use super::screen::{Span, Style};
use super::table;
use super::{Exit, ListOr, print, session, write_json, write_line};
use crate::api::service::Identity;
use crate::api::steer::sources::{Listed, Sources, State};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the sources of every running daemon (the default)
    List,
    /// Pause a source, also over restarts; its open jobs go on
    Pause(Named),
    /// Resume a paused source
    Resume(Named),
    /// Scan a folder at once
    Rescan(Named),
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// The source's name
    name: String,
}

pub fn execute(config: &Path, args: &ListOr<Command>) -> Result<(), Exit> {
    let config = Config::load(config)?;
    session::block_on(async {
        match &args.command {
            None | Some(Command::List) => list(&config, args.json).await,
            Some(Command::Pause(named)) => steer(&config, "pause", named, args.json).await,
            Some(Command::Resume(named)) => steer(&config, "resume", named, args.json).await,
            Some(Command::Rescan(named)) => steer(&config, "rescan", named, args.json).await,
        }
    })
}

async fn list(config: &Config, as_json: bool) -> Result<(), Exit> {
    let answers = ask(config, "sources.list", &json!({}), PATIENCE).await?;
    let mut rows = Vec::new();
    for (daemon, answer) in &answers.of {
        let sources = read::<Sources>(daemon, answer)?.sources;
        rows.extend(sources.into_iter().map(|source| (daemon, source)));
    }
    if as_json {
        let rows: Vec<Value> = rows.iter().map(|(daemon, source)| with_daemon(daemon, source)).collect();
        print(|out| write_json(out, &rows))?;
    } else {
        let zone = TimeZone::system();
        let rows = rows.iter().map(|(daemon, source)| row(daemon, source, &zone)).collect();
        table::print(["SOURCE", "STATE", "KIND", "ROUTE", "HOST", "WHERE"], rows)?;
    }
    answers.is_complete()
}

/// Asks every daemon that has the source: daemons that share a NATS subject have one each.
async fn steer(config: &Config, what: &str, Named { name }: &Named, as_json: bool) -> Result<(), Exit> {
    let answers = ask(config, &format!("sources.{what}"), &json!({ "name": name }), PATIENCE).await?;
    let mut done = Vec::new();
    for (daemon, answer) in &answers.of {
        match answer {
            Err(Refused { code: 404, .. }) => {}
            answer => done.push((daemon, read::<Listed>(daemon, answer)?)),
        }
    }
    if done.is_empty() {
        return Err(no_daemon(&answers, name));
    }
    print(|out| {
        if as_json {
            let rows: Vec<Value> = done.iter().map(|(daemon, source)| with_daemon(daemon, source)).collect();
            return write_json(out, &rows);
        }
        for (daemon, source) in &done {
            let state = match what {
                "rescan" => "is scanned".to_owned(),
                _ => format!("is {}", word(source.state)),
            };
            write_line(out, &format!("{daemon}: {name} {state}"))?;
        }
        Ok(())
    })?;
    answers.is_complete()
}

fn no_daemon(answers: &Answers, name: &str) -> Exit {
    match answers.is_complete() {
        Ok(()) => Exit::Failed(format!("no running daemon has the source {name:?}; see harkd sources")),
        Err(silent) => silent,
    }
}

fn read<T: serde::de::DeserializeOwned>(
    daemon: &Identity,
    answer: &Result<Value, Refused>,
) -> Result<T, Exit> {
    match answer {
        Ok(answer) => serde_json::from_value(answer.clone())
            .map_err(|error| Exit::Failed(format!("{daemon}: its answer cannot be read: {error}"))),
        Err(Refused { message, .. }) => Err(Exit::Failed(format!("{daemon}: {message}"))),
    }
}

fn with_daemon(daemon: &Identity, source: &Listed) -> Value {
    let mut row = json!(source);
    row["daemon"] = json!(daemon.daemon);
    row["host"] = json!(daemon.host);
    row
}

fn word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Waiting => "waiting",
        State::Paused => "paused",
    }
}

fn row(daemon: &Identity, source: &Listed, zone: &TimeZone) -> [Span; 6] {
    let style = match source.state {
        State::Running => Style::GREEN,
        State::Waiting => Style::RED,
        State::Paused => Style::YELLOW,
    };
    let since = source
        .paused_since
        .map(|since| since.to_zoned(zone.clone()).strftime(", since %m-%d %H:%M").to_string());
    let reason = source.reason.as_ref().map(|reason| format!(": {reason}"));
    [
        Span::new(Style::PLAIN, &source.name),
        Span::new(style, word(source.state)),
        Span::new(Style::PLAIN, &source.kind),
        Span::new(Style::PLAIN, &source.route),
        Span::new(Style::PLAIN, &daemon.host),
        Span::new(
            Style::PLAIN,
            format!("{}{}{}", source.place, since.unwrap_or_default(), reason.unwrap_or_default()),
        ),
    ]
}
