//! Starts a process for a plugin: when the daemon starts, after a death, and when the library changes.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Supervisor;
use crate::pipeline::process::{LoadError, Process};
use crate::pipeline::status::PluginState;
use crate::pipeline::verify::{Identity, identity};

/// Pauses before the daemon retries to load a plugin whose library has not changed: a dependency may have been installed meanwhile.
const RETRY: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600)];
/// While a process is being replaced, events wait for it for the plugin's `timeout`, but at least this long: the machine may be busy.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

/// A process that is starting.
pub(super) struct Loading {
    pub(super) future: Pin<Box<dyn Future<Output = Result<Process, LoadError>> + Send>>,
    /// When waiting events are answered with the failure that there is no process.
    pub(super) patience: Instant,
}

impl Supervisor {
    pub(super) fn begin_loading(&mut self) {
        // Postponed, so that no retry is due while this one is under way.
        self.retry = self.retry.take().map(|(tries, at)| (tries, at + RETRY[RETRY.len() - 1]));
        self.metrics.plugin_starts.with_label_values(&[&self.name]).inc();
        if self.process.is_none() {
            self.enter(PluginState::Loading, None);
        }
        let launch = self.launch.clone();
        self.loading = Some(Loading {
            future: Box::pin(async move { Process::start(&launch).await }),
            patience: Instant::now() + self.timeout.max(SHORTEST_PATIENCE),
        });
    }

    pub(super) fn take_over(&mut self, outcome: Result<Process, LoadError>) {
        self.loading = None;
        let error = match outcome {
            Ok(process) => {
                self.retry = None;
                // Installed by `send_pending`, between two events.
                self.successor = Some(process);
                return;
            }
            Err(error) => error,
        };
        let library = self.launch.load.library.display();
        let tries = self.retry.map_or(0, |(tries, _)| tries);
        let wait = RETRY[tries.min(RETRY.len() - 1)];
        self.retry = Some((tries + 1, Instant::now() + wait));
        if self.process.is_some() {
            tracing::error!(
                plugin = %self.name, %library, %error, next_try_in_s = wait.as_secs(),
                "new library refused; the old library keeps running"
            );
            self.enter(PluginState::Running, Some(format!("the new library was refused: {error}")));
            return;
        }
        self.count("load");
        tracing::error!(
            plugin = %self.name, %library, %error, next_try_in_s = wait.as_secs(),
            "plugin cannot be loaded; `on_failure` says what happens to transcripts until it is"
        );
        self.enter(PluginState::Failed, Some(error.to_string()));
    }

    pub(super) fn install(&mut self, process: Process) {
        let description = &process.description;
        tracing::info!(
            plugin = %self.name, library = %self.launch.load.library.display(), version = description.version,
            sha256 = description.sha256, transform = description.transform, pid = process.id(), "plugin runs"
        );
        if !description.missing.is_empty() {
            let missing = description.missing.join("; ");
            tracing::warn!(plugin = %self.name, missing, "this kernel cannot confine plugins fully");
        }
        if let Some(old) = self.process.replace(process) {
            tokio::spawn(old.end(self.timeout));
        }
        self.status.send_modify(|status| status.starts += 1);
        self.enter(PluginState::Running, None);
    }

    /// The operator enables the plugin. A plugin that does not run, because it is quarantined or could not be loaded, is loaded at once, and its
    /// recorded deaths are cleared. A plugin that runs is left alone. `done` receives `()` once the plugin runs, or could not be loaded.
    pub(super) fn enable(&mut self, done: oneshot::Sender<()>) {
        self.enabling.push(done);
        if self.process.is_some() || self.successor.is_some() {
            return;
        }
        tracing::info!(plugin = %self.name, "plugin enabled by the operator");
        self.strikes.forget();
        if self.loading.is_none() {
            self.begin_loading();
        }
    }

    /// Checks whether there is a new library at the path, and begins to load it once its file looks the same in two checks.
    pub(super) async fn check_for_new_library(&mut self) {
        let found = identity_of(&self.launch.load.library).await;
        let settled = found == self.seen;
        self.seen = found;
        let is_new = found.is_some() && found != self.known;
        // A load that is under way may have read the old or the new file; the next check decides.
        if settled && is_new && self.loading.is_none() && self.successor.is_none() {
            tracing::info!(plugin = %self.name, library = %self.launch.load.library.display(), "new library found");
            self.known = found;
            self.strikes.forget();
            self.begin_loading();
        }
    }
}

/// Identity of the library's file, if the file exists.
pub(super) async fn identity_of(library: &Path) -> Option<Identity> {
    tokio::fs::metadata(library).await.ok().as_ref().map(identity)
}
