//! `harkd plugins list`: which plugins load, and why the others do not.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::in_words;
use crate::cli::{Exit, print, write_json, write_line};
use crate::config::{self, Config};
use crate::pipeline::{self, Description, PluginEnvironment};

/// Loads each configured plugin in a process of its own, and prints the result.
///
/// # Errors
/// When the config has mistakes.
pub(super) fn execute(file: &Path, json: bool) -> Result<(), Exit> {
    let config = Config::load(file)?;
    let environment = PluginEnvironment::of(&config, file);
    let rows: Vec<Row> =
        config.plugin.iter().map(|plugin| Row::of(plugin, &config.plugins, &environment)).collect();
    print(|out| {
        if json {
            return write_json(out, &rows);
        }
        if rows.is_empty() {
            write_line(out, "no plugins are configured")?;
        }
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        for row in &rows {
            let line = format!("{:width$}  {:6}  {}", row.name, row.state, row.library.display());
            match &row.description {
                Some(description) => write_line(out, &format!("{line}  {}", in_words(description)))?,
                None => {
                    write_line(out, &line)?;
                    write_line(
                        out,
                        &format!("{:width$}  {}", "", row.reason.as_deref().unwrap_or_default()),
                    )?;
                }
            }
        }
        Ok(())
    })?;
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
    fn of(plugin: &config::Plugin, folders: &config::Plugins, environment: &PluginEnvironment) -> Row {
        let (state, reason, description) = match pipeline::inspect(plugin, folders, environment) {
            Ok(description) => ("loaded", None, Some(description)),
            Err(error) => ("failed", Some(error.to_string()), None),
        };
        Row { name: plugin.name.clone(), library: plugin.library_path(folders), state, reason, description }
    }
}
