//! `harkd plugins check`: a library put through its paces.

use std::io::{self, Write};
use std::path::Path;

use super::{in_words, print};
use crate::cli::Exit;
use crate::config;
use crate::pipeline::{self, Surroundings, Trial};

/// Tries a library and prints each step.
///
/// # Errors
/// When it does not pass.
pub(super) fn execute(file: &Path, config: &str, json: bool) -> Result<(), Exit> {
    if let Err(error) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(config) {
        return Err(Exit::Usage(format!("--with must be a JSON object: {error}")));
    }
    let surroundings = Surroundings::new(&config::State::default().directory);
    let trial = pipeline::trial(file, config, &surroundings)
        .map_err(|error| Exit::Software(format!("no process can be started for the plugin: {error}")))?;
    print(|out| {
        if json { writeln!(out, "{}", serde_json::to_string_pretty(&trial)?) } else { report(out, &trial) }
    })?;
    match trial.passed() {
        true => Ok(()),
        false => Err(Exit::Config(format!("{} does not pass", file.display()))),
    }
}

fn report(out: &mut dyn Write, trial: &Trial) -> io::Result<()> {
    if let Some(description) = &trial.description {
        writeln!(out, "{}\nsha256 {}", in_words(description), description.sha256)?;
        for missing in &description.missing {
            writeln!(out, "this machine cannot confine it fully: {missing}")?;
        }
    }
    for step in &trial.steps {
        let (verdict, words) = match &step.error {
            None => ("ok", &step.note),
            Some(error) => ("FAILED", error),
        };
        writeln!(out, "{verdict:6}  {:22} {:8.2} ms  {words}", step.name, step.elapsed_ms)?;
    }
    Ok(())
}
