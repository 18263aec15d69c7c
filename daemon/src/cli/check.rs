//! `harkd check`: every mistake of the config at once; connects to nothing.

use std::io::{self, Write};
use std::path::Path;

use globset::GlobBuilder;
use serde_json::json;
use tracing::Level;

use super::screen::{Span, Style, has_colours, paint};
use super::{Exit, print, write_json, write_line};
use crate::audio::ffmpeg;
use crate::config::{self, Config, Mistakes, Source, WhenDone};
use crate::os::private;
use crate::pipeline::{self, PluginEnvironment};
use crate::telemetry::logging::priority;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// 0 with a summary if the daemon would start with this config, else 78 and the mistakes.
pub fn execute(path: &Path, args: &Args) -> Result<(), Exit> {
    let mut inspection = config::inspect(path);
    let environment = PluginEnvironment::of(&inspection.config, path);
    let mut unsupported_wants = Vec::new();
    inspection.try_plugins(|plugin, folders| match pipeline::inspect(plugin, folders, &environment) {
        Ok(description) => {
            unsupported_wants.extend(description.unsupported_wants().map(|kinds| {
                format!("plugin {:?} wants {kinds}, which plugins do not receive yet: it receives transcripts and annotations", plugin.name)
            }));
            Ok(description.warnings)
        }
        Err(error) => Err(error.reasons()),
    });
    let is_readable = inspection.is_readable;
    let of_config = inspection.warnings();
    let (config, mut mistakes) = (inspection.config, inspection.mistakes);
    let mut warnings = Vec::new();
    // A file that cannot be read may name a key's file, and sources.
    if is_readable {
        if let Err(text) = config.dashscope_key() {
            mistakes.add(text);
        }
        warnings = of_config;
        warnings.extend(open_state(&config.state.directory));
        warnings.extend(ffmpeg::find().is_none().then(|| no_ffmpeg(&config)).flatten());
    }
    warnings.extend(unsupported_wants);
    // A reader that is gone (`| head`) has read what it wanted; the exit code still gives the result.
    match args.json {
        true => print(|out| print_json(out, &config, &mistakes, &warnings))?,
        false => print(|out| print_for_people(out, &config, &mistakes, &warnings))?,
    };
    let more = if is_readable { "" } else { "; more may show when the file can be read" };
    if mistakes.is_empty() { Ok(()) } else { Err(Exit::Config(format!("{}{more}", mistakes.count()))) }
}

/// The warning about a state directory that other users can read. `run` logs a warning of its own about that.
pub(super) fn open_state(directory: &Path) -> Option<String> {
    let mode = private::open_to_others(directory).ok()??;
    let path = directory.display();
    Some(format!(
        "state.directory {path} is open to others (mode {mode:04o}), and texts and audio lie in it; harkd closes it when it starts, and \
         does not start where it may not: chmod 700 {path}"
    ))
}

/// The warning that ffmpeg is missing, where a source takes recordings that Hark decodes with it.
pub(super) fn no_ffmpeg(config: &Config) -> Option<String> {
    const ENDINGS: [&str; 14] =
        ["3gp", "amr", "ape", "au", "avi", "flv", "g729", "gsm", "mpeg", "ts", "w64", "wma", "wmv", "wv"];
    let takes = |glob: &String| {
        let name = glob.rsplit('/').next().unwrap_or(glob);
        let glob = GlobBuilder::new(name).case_insensitive(true).build().map(|glob| glob.compile_matcher());
        glob.is_ok_and(|glob| ENDINGS.iter().any(|ending| glob.is_match(format!("call.{ending}"))))
    };
    let needs_it = |source: &&Source| match source {
        Source::Directory(folder) => folder.include.iter().any(takes),
        Source::Nats(_) => true,
    };
    let source = config.source.iter().find(needs_it)?.name();
    Some(format!(
        "ffmpeg is not installed, and source {source:?} takes recordings that Hark decodes with it ({}, and GSM or G.729 in wav): they are sent \
         as they are where the engine takes them, else they fail; install ffmpeg (Debian and Ubuntu: apt install ffmpeg)",
        ENDINGS.join(" ")
    ))
}

fn print_json(
    out: &mut impl Write,
    config: &Config,
    mistakes: &Mistakes,
    warnings: &[String],
) -> io::Result<()> {
    let listed: Vec<_> = mistakes
        .mistakes
        .iter()
        .map(|mistake| {
            let (line, column, variable) = match &mistake.place {
                config::Place::Line { line, column } => (Some(line), Some(column), None),
                config::Place::Variable(name) => (None, None, Some(name)),
                config::Place::File => (None, None, None),
            };
            json!({ "line": line, "column": column, "variable": variable, "text": mistake.text })
        })
        .collect();
    let summary = json!({
        "ok": mistakes.is_empty(),
        "file": mistakes.file,
        "mistakes": listed,
        "warnings": warnings,
        "region": config.dashscope.region,
        "sources": config.source.iter().map(|source| source.name()).collect::<Vec<_>>(),
        "routes": config.route.iter().map(|route| &route.name).collect::<Vec<_>>(),
        "plugins": config.plugin.iter().map(|plugin| &plugin.name).collect::<Vec<_>>(),
    });
    write_json(out, &summary)
}

/// Findings go to standard error like a compiler's, the summary to standard output.
fn print_for_people(
    out: &mut impl Write,
    config: &Config,
    mistakes: &Mistakes,
    warnings: &[String],
) -> io::Result<()> {
    let mut findings = io::stderr().lock();
    let has_colours = has_colours(&findings);
    let mut find = |level: Level, style: Style, word: &str, text: &str| {
        let line = [Span::new(style, word), Span::new(Style::PLAIN, format!(" {text}"))];
        writeln!(findings, "{}{}", priority(level), paint(&line, has_colours))
    };
    for (place, text) in mistakes.lines() {
        find(Level::ERROR, Style::RED, &format!("{place}:"), text)?;
    }
    for warning in warnings {
        find(Level::WARN, Style::YELLOW, "warning:", warning)?;
    }
    if mistakes.is_empty() {
        write_line(out, &format!("{}: ok; {}", mistakes.file, summary(config)))?;
    }
    Ok(())
}

/// What `run` would do, in one sentence.
fn summary(config: &Config) -> String {
    let sources = config.source.iter().map(|source| match source {
        Source::Directory(folder) => {
            let then = match folder.when_done {
                WhenDone::Keep => "",
                WhenDone::Move => " (moved when done)",
                WhenDone::Delete => " (deleted when done)",
            };
            format!("{} watches {}{then}", folder.name, folder.path.display())
        }
        Source::Nats(intake) => format!("{} consumes {}", intake.name, intake.subject),
    });
    let routes = config.route.iter().map(|route| route.name.clone());
    let plugins = config.plugin.iter().map(|plugin| plugin.name.clone());
    format!(
        "sources: {}; routes: {}; region: {}; plugins: {}",
        listed(sources),
        listed(routes),
        config.dashscope.region.as_str(),
        listed(plugins)
    )
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}
