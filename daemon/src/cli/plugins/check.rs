//! `harkd plugins check`: tries a library.

use std::io::{self, Write};
use std::path::Path;

use super::in_words;
use crate::cli::{Exit, print, write_json, write_line};
use crate::config;
use crate::pipeline::{self, Surroundings, Trial};

/// Tries a library, from which the files that the daemon's config hides are hidden, and prints each step. `daemon`: that config, which need
/// not exist.
///
/// # Errors
/// When it does not pass.
pub(super) fn execute(daemon: &Path, file: &Path, config: &str, json: bool) -> Result<(), Exit> {
    if let Err(error) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(config) {
        return Err(Exit::Usage(format!("--with must be a JSON object: {error}")));
    }
    let surroundings = Surroundings::of(&config::inspect(daemon).config, daemon);
    let trial = pipeline::trial(file, config, &surroundings)
        .map_err(|error| Exit::Software(format!("no process can be started for the plugin: {error}")))?;
    print(|out| if json { write_json(out, &trial) } else { report(out, &trial) })?;
    match trial.passed() {
        true => Ok(()),
        false => Err(Exit::Config(format!("{} does not pass", file.display()))),
    }
}

fn report(out: &mut impl Write, trial: &Trial) -> io::Result<()> {
    if let Some(description) = &trial.description {
        write_line(out, &in_words(description))?;
        write_line(out, &format!("sha256 {}", description.sha256))?;
        for missing in &description.missing {
            write_line(out, &format!("this machine cannot confine it fully: {missing}"))?;
        }
    }
    for step in &trial.steps {
        let (verdict, words) = match &step.error {
            None => ("ok", &step.note),
            Some(error) => ("FAILED", error),
        };
        write_line(out, &format!("{verdict:6}  {:22} {:8.2} ms  {words}", step.name, step.elapsed_ms))?;
    }
    Ok(())
}
