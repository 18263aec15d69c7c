//! `harkd plugins check`: tests a library.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::in_words;
use crate::cli::{Exit, print, write_json, write_line};
use crate::config;
use crate::counted::counted;
use crate::pipeline::{self, PluginEnvironment, Trial, Verdict};

/// Tests a library with `events` events, and prints each step and a verdict. The plugin cannot read the files that the config hides; `daemon` is
/// the path of that config, which need not exist.
///
/// # Errors
/// When it does not pass.
pub(super) fn execute(daemon: &Path, file: &Path, config: &str, events: u64, json: bool) -> Result<(), Exit> {
    if let Err(error) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(config) {
        return Err(Exit::Usage(format!(
            "--with must be a JSON object, such as '{{\"word\": \"refund\"}}': {error}"
        )));
    }
    let environment = PluginEnvironment::of(&config::inspect(daemon).config, daemon);
    let trial = pipeline::trial(file, config, events, &environment)
        .map_err(|error| Exit::Software(format!("no process can be started for the plugin: {error}")))?;
    let verdict = trial.verdict();
    print(|out| {
        if json {
            let Trial { description, steps } = &trial;
            return write_json(
                out,
                &json!({ "verdict": verdict, "description": description, "steps": steps }),
            );
        }
        report(out, &trial)
    })?;
    match verdict {
        Verdict::Failed => Err(Exit::Failed(format!("{} does not pass", file.display()))),
        _ => Ok(()),
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
        let verdict = match step.verdict {
            Verdict::Passed => "ok",
            Verdict::Warnings => "warning",
            Verdict::Failed => "FAILED",
        };
        let line = format!("{verdict:7}  {:22} {:9.2} ms  {}", step.name, step.elapsed_ms, step.message);
        write_line(out, &line)?;
        if let Some(remedy) = step.remedy {
            write_line(out, &format!("{:45}{remedy}", ""))?;
        }
    }
    match (trial.verdict(), trial.count(Verdict::Warnings)) {
        (Verdict::Failed, _) => Ok(()),
        (Verdict::Warnings, warnings) => {
            write_line(out, &format!("passed, with {}", counted(warnings, "warning")))
        }
        (Verdict::Passed, _) => write_line(out, "passed"),
    }
}
