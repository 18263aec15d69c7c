//! `harkd plugins list`: what is loaded, and why the rest is not.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{in_words, print};
use crate::cli::Exit;
use crate::config::{self, Config};
use crate::pipeline::{self, Description, Surroundings};

/// Loads each configured plugin in a process of its own, and says what came of it.
///
/// # Errors
/// When the config is mistaken.
pub(super) fn execute(file: &Path, json: bool) -> Result<(), Exit> {
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
