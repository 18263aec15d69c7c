//! `harkd plugins`: does it load, and does it behave?

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use hark_sdk::Wants;
use hark_sdk::event::Kind;
use serde::Serialize;

use super::Exit;
use crate::config::{self, Config};
use crate::pipeline::{self, Description, Surroundings, Trial};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load each configured plugin in a process of its own, and say what came of it (the default)
    List,
    /// Put a library through its paces
    Check {
        /// The shared library
        file: PathBuf,
        /// `[plugin.config]` for it, as JSON
        #[arg(long, value_name = "JSON", default_value = "{}")]
        with: String,
    },
}

pub fn execute(config: &Path, args: &Args) -> Result<(), Exit> {
    match &args.command {
        None | Some(Command::List) => list(config, args.json),
        Some(Command::Check { file, with }) => check(file, with, args.json),
    }
}

fn list(file: &Path, json: bool) -> Result<(), Exit> {
    let config = Config::load(file).map_err(|mistakes| Exit::Config(mistakes.to_string()))?;
    let around = Surroundings::of(&config, file);
    let rows: Vec<Row> =
        config.plugin.iter().map(|plugin| Row::of(plugin, &config.plugins, &around)).collect();
    if json {
        return print(|out| writeln!(out, "{}", serde_json::to_string_pretty(&rows)?));
    }
    print(|out| {
        if rows.is_empty() {
            writeln!(out, "no plugins are configured")?;
        }
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        for row in &rows {
            write!(out, "{:width$}  {:6}  {}", row.name, row.state, row.library.display())?;
            match &row.description {
                Some(description) => writeln!(out, "  {}", in_words(description))?,
                None => writeln!(out, "\n{:width$}  {}", "", row.reason.as_deref().unwrap_or_default())?,
            }
        }
        Ok(())
    })
}

fn check(file: &Path, config: &str, json: bool) -> Result<(), Exit> {
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

/// One plugin of the config.
#[derive(Serialize)]
struct Row {
    name: String,
    library: PathBuf,
    /// `loaded` or `failed`.
    state: &'static str,
    reason: Option<String>,
    #[serde(flatten)]
    description: Option<Description>,
}

impl Row {
    fn of(plugin: &config::Plugin, folders: &config::Plugins, around: &Surroundings) -> Row {
        let (state, reason, description) = match pipeline::inspect(plugin, folders, around) {
            Ok(description) => ("loaded", None, Some(description)),
            Err(error) => ("failed", Some(error.to_string()), None),
        };
        Row { name: plugin.name.clone(), library: plugin.library_path(folders), state, reason, description }
    }
}

fn in_words(description: &Description) -> String {
    let wants = Wants::from_bits(description.wants);
    let heard: Vec<&str> = [("finals", Kind::TranscriptFinal), ("partials", Kind::TranscriptPartial)]
        .into_iter()
        .filter_map(|(name, kind)| wants.include(&kind).then_some(name))
        .collect();
    let version = if description.version.is_empty() { "no version" } else { &description.version };
    let unheard =
        description.unheard().map(|kinds| format!(" (wants {kinds} too, which no plugin hears yet)"));
    let transform = if description.transform { ", replaces text" } else { "" };
    format!(
        "{version}, hears {}{}{transform}",
        if heard.is_empty() { "nothing".to_owned() } else { heard.join(" and ") },
        unheard.unwrap_or_default()
    )
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::Software(format!("writing to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
