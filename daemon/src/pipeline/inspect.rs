//! Loads one library without a running daemon, always in a process of its own: for `harkd check` and `harkd plugins`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use super::log::PluginLog;
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
    surroundings: &Surroundings,
) -> Result<Description, LoadError> {
    let launch = surroundings.launch(plugin, folders);
    let _own = TemporaryFolder::folder(surroundings.own_folder(&plugin.name));
    blocking(async {
        let log = PluginLog::new(&plugin.name);
        let process = Process::start(&launch, &mut log.clone()).await?;
        let description = process.description.clone();
        process.retire(LIMIT, log).await;
        Ok(description)
    })
    .unwrap_or_else(|error| Err(LoadError(format!("no process can be started to load it: {error}"))))
}

/// A temporary folder: its missing parts are created, and removed on drop unless they have content by then.
struct TemporaryFolder {
    /// The innermost first.
    made: Vec<PathBuf>,
}

impl TemporaryFolder {
    fn folder(folder: PathBuf) -> TemporaryFolder {
        let missing: Vec<_> = folder
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect();
        // If a folder cannot be created the plugin gets no access to it, and a `create` that needs the folder fails, as it would under a
        // daemon of this user.
        let made = missing.iter().rev().take_while(|folder| private::create_folder(folder).is_ok());
        let mut made: Vec<PathBuf> = made.map(|folder| folder.to_path_buf()).collect();
        made.reverse();
        TemporaryFolder { made }
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Stops at the first folder that is not empty: its parents are not empty either.
        let _ = self.made.iter().try_for_each(std::fs::remove_dir);
    }
}

/// Runs a future to its end on a thread of its own, so that it may be called from inside a runtime as well.
pub(super) fn blocking<T: Send>(work: impl Future<Output = T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work))
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that started it panicked")))
    })
}
