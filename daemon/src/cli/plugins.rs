//! `harkd plugins`: lists the plugins, tries a library, creates a plugin's crate, ends a quarantine.

mod check;
mod enable;
mod list;
mod new;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use hark_sdk::Wants;
use hark_sdk::event::Kind;

use super::{Exit, ListOr};
use crate::pipeline::Description;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load each configured plugin in a process of its own and print the result (the default); the state of the running daemon's plugins is
    /// in its /metrics
    List,
    /// Test a library: ABI, schema, every kind of event that it wants, unusable bodies, thousands of events with their time, memory, descriptors
    /// and threads; prints a verdict and ends with 1 if it fails
    Check {
        /// The shared library
        file: PathBuf,
        /// `[plugin.config]` for it, as JSON
        #[arg(long, value_name = "JSON", default_value = "{}")]
        with: String,
        /// How many ordinary events it gets
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
        events: u64,
    },
    /// End the quarantine of a plugin in every running daemon, or have it loaded again at once
    Enable {
        /// The plugin's name in the config
        name: String,
    },
    /// Create a plugin that works in a new folder: a crate with tests, or C with a Makefile
    New {
        /// The name of the plugin and its folder
        name: String,
        /// The language
        #[arg(long, value_enum, default_value_t = Language::Rust)]
        lang: Language,
        /// The folder `sdk` of a checkout of Hark [default: of one named `hark` beside the new folder or further up, or the one around it]
        #[arg(long, value_name = "FOLDER")]
        sdk: Option<PathBuf>,
    },
}

/// The languages that `plugins new` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    Rust,
    C,
}

pub fn execute(config: &Path, args: &ListOr<Command>) -> Result<(), Exit> {
    match &args.command {
        None | Some(Command::List) => list::execute(config, args.json),
        Some(Command::Check { file, with, events }) => check::execute(config, file, with, *events, args.json),
        Some(Command::Enable { name }) => enable::execute(config, name, args.json),
        Some(Command::New { name, lang, sdk }) => {
            new::execute(config, name, *lang, sdk.as_deref(), args.json)
        }
    }
}

fn in_words(description: &Description) -> String {
    let wants = Wants::from_bits(description.wants);
    let heard: Vec<&str> = [
        ("finals", Kind::TranscriptFinal),
        ("segments", Kind::TranscriptSegment),
        ("partials", Kind::TranscriptPartial),
        ("annotations", Kind::AnnotationLanguage),
    ]
    .into_iter()
    .filter_map(|(name, kind)| wants.include(&kind).then_some(name))
    .collect();
    let version = if description.version.is_empty() { "no version" } else { &description.version };
    let unsupported_wants = description
        .unsupported_wants()
        .map(|kinds| format!(" (wants {kinds} too, which plugins do not receive yet)"));
    let transform = if description.transform { ", replaces text" } else { "" };
    format!(
        "{version}, receives {}{}{transform}",
        if heard.is_empty() { "nothing".to_owned() } else { heard.join(" and ") },
        unsupported_wants.unwrap_or_default()
    )
}
