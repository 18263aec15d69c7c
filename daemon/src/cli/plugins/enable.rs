//! `harkd plugins enable`: ends a quarantine in every daemon that runs the plugin.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::daemons::{Refused, ask};
use crate::cli::{Exit, print, session, write_json, write_line};
use crate::config::Config;

/// How long to wait for an answer: loading a library that hangs takes a daemon some ten seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks every running daemon and prints the answers.
///
/// # Errors
/// A name that the config does not have, a daemon that does not answer, and a plugin that does not run afterwards.
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

async fn enable(config: &Config, name: &str, as_json: bool) -> Result<(), Exit> {
    let answers = ask(config, "plugins.enable", &json!({ "name": name }), PATIENCE).await?;
    let mut outcomes = Vec::new();
    for (daemon, answer) in &answers.of {
        outcomes.push((
            daemon,
            match answer {
                Ok(enabled) => Some(enabled.clone()),
                Err(Refused { code: 404, .. }) => None,
                Err(Refused { message, .. }) => return Err(Exit::Failed(format!("{daemon}: {message}"))),
            },
        ));
    }
    print(|out| {
        if as_json {
            let rows: Vec<Value> = outcomes
                .iter()
                .map(|(daemon, outcome)| json!({ "daemon": daemon.daemon, "host": daemon.host, "outcome": outcome }))
                .collect();
            return write_json(out, &rows);
        }
        for (daemon, outcome) in &outcomes {
            let line = match outcome.as_ref().map(|enabled| (word(enabled, "was"), word(enabled, "state"))) {
                None => format!("{daemon}: has no plugin {name:?}"),
                Some((was, state)) if was == state => format!("{daemon}: {name} is {state}"),
                Some((was, state)) => format!("{daemon}: {name} was {was}, is {state}"),
            };
            write_line(out, &line)?;
        }
        Ok(())
    })?;
    let mut known = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref()).peekable();
    if known.peek().is_none() {
        answers.is_complete()?;
        return Err(Exit::Failed(format!(
            "no running daemon has the plugin {name:?}; restart it to read the config"
        )));
    }
    match known.find(|enabled| word(enabled, "state") != "running") {
        Some(failed) => {
            let reason = failed["reason"].as_str().map(str::to_owned);
            Err(Exit::Failed(reason.unwrap_or_else(|| format!("{name} does not run"))))
        }
        None => answers.is_complete(),
    }
}

fn word<'a>(enabled: &'a Value, field: &str) -> &'a str {
    enabled[field].as_str().unwrap_or_default()
}
