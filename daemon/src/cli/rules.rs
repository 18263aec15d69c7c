//! `harkd rules test`: the rules of a `keyword_alert` against transcripts with the alerts expected of them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use hark_rules::{CaseResult, Expected, Fixture, Got, Rules};
use serde::Serialize;

use super::{Exit, print, say, write_json, write_line};
use crate::config::{self, Config};
use crate::counted::counted;

/// The library whose config has rules.
const LIBRARY: &str = "keyword_alert";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Judge transcripts by the rules of --config, and compare the alerts with those expected
    Test {
        /// TOML: [[case]] with a name, [[case.segments]] and [[case.alerts]]
        file: PathBuf,
        /// The plugin whose rules are tested [default: the one with the library keyword_alert]
        #[arg(long, value_name = "NAME")]
        plugin: Option<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Ends with 1 if a case differs, with 64 if the file of cases cannot be used, with 78 if the config or its rules cannot.
pub fn execute(config: &Path, command: &Command) -> Result<(), Exit> {
    let Command::Test { file, plugin, json } = command;
    let rules = rules(config, plugin.as_deref())?;
    let text = std::fs::read_to_string(file)
        .map_err(|error| Exit::Usage(format!("{} cannot be read: {error}", file.display())))?;
    let fixture: Fixture = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Exit::Usage(format!("{}:{line}: {}", file.display(), error.message()))
    })?;
    let outcomes: Vec<CaseResult> = fixture.cases.iter().map(|case| case.judge(&rules)).collect();
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    print(|out| {
        if *json { write_json(out, &Report { failed, cases: &outcomes }) } else { report(out, &outcomes) }
    })?;
    match failed {
        0 => Ok(()),
        _ => Err(Exit::Failed(format!("not as expected: {failed} of {}", counted(outcomes.len(), "case")))),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    failed: usize,
    cases: &'a [CaseResult],
}

/// The rules of the plugin with this name, or of the only plugin that has rules.
fn rules(path: &Path, name: Option<&str>) -> Result<Rules, Exit> {
    let config = Config::load(path)?;
    let has_rules = |plugin: &&config::Plugin| {
        let library =
            Path::new(&plugin.library).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        library.strip_prefix("lib").unwrap_or(library) == LIBRARY
    };
    let mut fitting: Vec<&config::Plugin> = match name {
        Some(name) => config.plugin.iter().filter(|plugin| plugin.name == name).collect(),
        None => config.plugin.iter().filter(has_rules).collect(),
    };
    let plugin = match (fitting.pop(), fitting.is_empty(), name) {
        (Some(plugin), true, _) => plugin,
        (Some(_), ..) => {
            return Err(Exit::Usage(format!(
                "{} has several plugins with the library {LIBRARY}; name one with --plugin",
                path.display()
            )));
        }
        (None, _, Some(name)) => {
            return Err(Exit::Usage(format!("{} has no [[plugin]] named {name:?}", path.display())));
        }
        (None, _, None) => {
            return Err(Exit::Config(format!(
                "{} has no [[plugin]] with library = \"{LIBRARY}\"; add one, or name another file with --config",
                path.display()
            )));
        }
    };
    let mistakes = |all: Vec<hark_rules::Mistake>| {
        let line = |mistake| format!("{}: plugin {:?}: {mistake}", path.display(), plugin.name);
        Exit::Config(all.into_iter().map(line).collect::<Vec<_>>().join("; "))
    };
    let json = serde_json::to_string(&plugin.config).map_err(|error| Exit::Software(error.to_string()))?;
    let rules = Rules::read(&json).map_err(mistakes)?;
    for warning in rules.warnings() {
        say(&format!("warning: plugin {:?}: {warning}", plugin.name));
    }
    Ok(rules)
}

fn report(out: &mut impl Write, outcomes: &[CaseResult]) -> io::Result<()> {
    for outcome in outcomes {
        write_line(out, &format!("{:6}  {}", if outcome.passed { "ok" } else { "FAILED" }, outcome.name))?;
        if outcome.passed {
            continue;
        }
        for expected in &outcome.missing {
            write_line(out, &format!("        - expected, not raised: {}", expectation(expected)))?;
        }
        for got in &outcome.unexpected {
            write_line(out, &format!("        + raised, not expected: {}", raised(got)))?;
        }
        for got in outcome.got.iter().filter(|got| !outcome.unexpected.contains(got)) {
            write_line(out, &format!("          as expected: {}", raised(got)))?;
        }
    }
    Ok(())
}

fn expectation(alert: &Expected) -> String {
    let channel = alert.channel.map(|channel| format!(" channel {channel}")).unwrap_or_default();
    let begin = alert.begin_ms.map(|begin| format!(" at {begin} ms")).unwrap_or_default();
    format!("{}{channel}{begin}", alert.rule)
}

fn raised(alert: &Got) -> String {
    let place =
        expectation(&Expected { rule: alert.rule.clone(), channel: alert.channel, begin_ms: alert.begin_ms });
    if alert.quote.is_empty() {
        format!("{place} (nothing was said)")
    } else {
        format!("{place} {:?}", alert.quote)
    }
}
