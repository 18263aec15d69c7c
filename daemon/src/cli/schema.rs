//! `harkd schema`: what programs and editors check events, config and subjects by.

use std::io::Write;
use std::path::Path;

use clap::Subcommand;
use serde_json::Value;

use super::{Exit, print};
use crate::api::{openapi, service};
use crate::broker::asyncapi;
use crate::config::{self, Config, Plugin};
use crate::pipeline::{self, PluginEnvironment};
use crate::telemetry::logging::readable_json;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// JSON Schema of the events' bodies: a definition for each kind, the root is any of them
    Events,
    /// JSON Schema of the configuration file, by which an editor completes and checks it
    Config {
        /// Of the `[plugin.config]` of this plugin: the name of a [[plugin]], else of a library in plugins.directory
        #[arg(long, value_name = "NAME")]
        plugin: Option<String>,
    },
    /// AsyncAPI 3 document of the subjects; with the prefix and the servers of the configuration, where there is one
    Asyncapi,
    /// OpenAPI 3.1 document of the HTTP API
    Openapi,
}

/// Prints one document.
///
/// # Errors
/// 78 where a config is needed and has mistakes, or the plugin does not load or has no schema.
pub fn execute(file: &Path, command: &Command) -> Result<(), Exit> {
    let document = match command {
        Command::Events => hark_sdk::schema::events().to_value(),
        Command::Config { plugin: None } => config::schema(),
        Command::Config { plugin: Some(name) } => of_plugin(&config_or_defaults(file)?, file, name)?,
        Command::Asyncapi => asyncapi::document(&config_or_defaults(file)?.nats, service::names()),
        Command::Openapi => openapi::document(),
    };
    let text = serde_json::to_string_pretty(&document).map_err(|error| Exit::Software(error.to_string()))?;
    print(|out| writeln!(out, "{}", readable_json(&text))).map(drop)
}

/// The config; all defaults where the file does not exist, for a document is also wanted where no daemon runs.
fn config_or_defaults(file: &Path) -> Result<Config, Exit> {
    match file.try_exists() {
        Ok(false) => Ok(Config::default()),
        _ => Ok(Config::load(file)?),
    }
}

fn of_plugin(config: &Config, file: &Path, name: &str) -> Result<Value, Exit> {
    let configured = config.plugin.iter().find(|plugin| plugin.name == name).cloned();
    let plugin = configured.unwrap_or_else(|| Plugin {
        name: "schema".to_owned(),
        library: name.to_owned(),
        ..Plugin::default()
    });
    let schema = pipeline::schema_of(&plugin, &config.plugins, &PluginEnvironment::of(config, file));
    match schema.map_err(|error| Exit::Config(format!("plugin {name:?}: {error}")))? {
        Some(schema) => Ok(schema),
        None => Err(Exit::Config(format!(
            "plugin {name:?} brings no schema of its config; its manual says what it reads"
        ))),
    }
}
