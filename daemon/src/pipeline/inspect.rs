//! Loads one library without a running daemon, always in a process of its own: for `harkd check` and `harkd plugins`.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::PluginEnvironment;
use super::process::{LoadError, Process};
use super::wire::Description;
use crate::config;
use crate::os::private;

/// How long one call may take in a trial, and how long the process may take to end.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Loads a configured plugin, has it create its instance from its config, and ends its process, all as the daemon would. Blocks for some
/// ten seconds at most.
///
/// # Errors
/// When the daemon could not run the plugin; the message names the library or the key of the config, and what to do.
pub fn inspect(
    plugin: &config::Plugin,
    folders: &config::Plugins,
    environment: &PluginEnvironment,
) -> Result<Description, LoadError> {
    let launch = environment.launch(plugin, folders);
    let own = environment.own_folder(&plugin.name);
    let missing: Vec<&Path> =
        own.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    // If the folder cannot be created the plugin gets no access to it, and a `create` that needs the folder fails, as it would under a daemon
    // of this user.
    let _ = private::create_folder(&own);
    let described = block_on(async {
        let process = Process::start(&launch).await?;
        let description = process.description.clone();
        process.end(LIMIT).await;
        Ok(description)
    });
    // The folders that this function created are removed again, the innermost first; a folder that has content by then stays.
    for folder in missing {
        let _ = std::fs::remove_dir(folder);
    }
    described
        .unwrap_or_else(|error| Err(LoadError::new(format!("no process can be started to load it: {error}"))))
}

/// The JSON Schema of a plugin's config, if the plugin brings one. The plugin is not created, so its config may have mistakes.
///
/// # Errors
/// When the library is no plugin that the daemon could load.
pub fn schema_of(
    plugin: &config::Plugin,
    folders: &config::Plugins,
    environment: &PluginEnvironment,
) -> Result<Option<Value>, LoadError> {
    let launch = environment.launch(plugin, folders);
    let schema = block_on(Process::schema(&launch)).unwrap_or_else(|error| {
        Err(LoadError::new(format!("no process can be started to load it: {error}")))
    })?;
    let read = |text: String| serde_json::from_str(&text);
    schema.map(read).transpose().map_err(|error| LoadError::new(format!("its schema is not JSON: {error}")))
}

/// Runs a future to its end; the commands that call it have no runtime.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}
