//! Looks at one library outside of a daemon, always in a process of its own: for `harkd check` and `harkd plugins`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::Surroundings;
use super::log::PluginLog;
use super::process::{LoadError, Process};
use super::wire::Description;
use crate::config;
use crate::os::private;

/// How long one call may take in a trial, and the end of the process.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Loads a configured plugin, lets it make its instance from its config, and ends it, all as the daemon would. Blocks for some ten seconds
/// at most.
///
/// # Errors
/// When the daemon could not run it; the words name the library or the config's key, and what to do.
pub fn inspect(
    plugin: &config::Plugin,
    folders: &config::Plugins,
    surroundings: &Surroundings,
) -> Result<Description, LoadError> {
    let launch = surroundings.launch(plugin, folders);
    let _own = Lent::folder(surroundings.own_folder(&plugin.name));
    blocking(async {
        let log = PluginLog::new(&plugin.name);
        let process = Process::start(&launch, &mut log.clone()).await?;
        let description = process.description.clone();
        process.retire(LIMIT, log).await;
        Ok(description)
    })
    .unwrap_or_else(|error| Err(LoadError(format!("no process can be started to load it: {error}"))))
}

/// A folder that is there for a while: what was missing of it is made, and goes again unless something was put there meanwhile.
struct Lent {
    /// The innermost first.
    made: Vec<PathBuf>,
}

impl Lent {
    fn folder(folder: PathBuf) -> Lent {
        let missing: Vec<_> = folder
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect();
        // What cannot be made is not granted: a `create` that needs it says so, as it would to a daemon of this user.
        let made = missing.iter().rev().take_while(|folder| private::create_folder(folder).is_ok());
        let mut made: Vec<PathBuf> = made.map(|folder| folder.to_path_buf()).collect();
        made.reverse();
        Lent { made }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The first that is not empty ends it, and those around it are not empty either.
        let _ = self.made.iter().try_for_each(std::fs::remove_dir);
    }
}

/// On a thread of its own, so that it may be called from inside a runtime as well.
pub(super) fn blocking<T: Send>(work: impl Future<Output = T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work))
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that started it panicked")))
    })
}
