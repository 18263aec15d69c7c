//! `harkd doctor`: like `check`, and connects as well. It names what is wrong, or will be, and what to do.
//!
//! It sends only requests that are free. It writes one temporary file into the state directory, and takes no lock and no message, so it can
//! run beside a daemon.

mod finding;
mod folders;
mod machine;
mod nats;
mod services;
mod streams;

use std::path::Path;

use self::finding::{Finding, Level, print_for_people, summary};
use super::session::block_on;
use super::{Exit, print, write_json};
use crate::config::{self, Config, Source};
use crate::counted::counted;
use crate::pipeline::{self, PluginEnvironment};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Looks at everything that the config needs, and prints what it found.
///
/// # Errors
/// 69 if an error is among the findings, 78 if the config has mistakes.
pub fn execute(file: &Path, args: &Args) -> Result<(), Exit> {
    let inspection = config::inspect(file);
    if !inspection.mistakes.is_empty() {
        return Err(inspection.mistakes.into());
    }
    let warnings = inspection.warnings();
    let config = inspection.into_result()?;
    let mut findings = of_config(file, &config, warnings);
    let (services, nats) =
        block_on(async { Ok(tokio::join!(services::examine(&config), nats::examine(&config))) })?;
    findings.extend(services);
    findings.extend(nats);
    findings.extend(config.source.iter().filter_map(Source::folder).map(folders::of_folder));
    findings.extend(machine::examine(&config));
    findings.extend(of_plugins(file, &config));
    match args.json {
        true => print(|out| write_json(out, &findings))?,
        false => print(|out| print_for_people(out, &findings))?,
    };
    let summary = summary(&findings);
    if summary.errors > 0 { Err(Exit::Unavailable(summary.to_string())) } else { Ok(()) }
}

/// The warnings of `check`, without those that other findings cover in more detail.
fn of_config(file: &Path, config: &Config, mut warnings: Vec<String>) -> Vec<Finding> {
    let of_folders = config.warnings_of_folders();
    warnings.retain(|warning| !of_folders.contains(warning));
    if warnings.is_empty() {
        let message = format!(
            "{}: {}, {}, {}",
            file.display(),
            counted(config.source.len(), "source"),
            counted(config.route.len(), "route"),
            counted(config.plugin.len(), "plugin")
        );
        return vec![Finding::ok("config", message)];
    }
    let finding = |warning: &String| {
        Finding::of_sentence("config", Level::Warning, warning, "see docs/configuration.md")
    };
    warnings.iter().map(finding).collect()
}

/// Loads each plugin in a process of its own, as the daemon does.
fn of_plugins(file: &Path, config: &Config) -> Vec<Finding> {
    let environment = PluginEnvironment::of(config, file);
    let finding = |plugin: &config::Plugin| {
        let check = format!("plugin {}", plugin.name);
        match pipeline::inspect(plugin, &config.plugins, &environment) {
            Ok(description) if !description.missing.is_empty() => Finding::warning(
                check,
                format!("loads, but its sandbox is not whole: {}", description.missing.join("; ")),
                "run harkd on a newer kernel, or trust the plugin",
            ),
            Ok(description) => match description.warnings.first() {
                Some(warning) => {
                    Finding::warning(check, warning, "correct [plugin.config]; `harkd check` names the line")
                }
                None => {
                    Finding::ok(check, format!("{} loads", plugin.library_path(&config.plugins).display()))
                }
            },
            Err(error) => Finding::of_sentence(
                check,
                Level::Error,
                &error.to_string(),
                "see `harkd plugins check`, which tries all of it",
            ),
        }
    };
    config.plugin.iter().map(finding).collect()
}
