//! The operator ends a quarantine.

use tokio::sync::{mpsc, oneshot};

use super::Supervisor;

/// Receives `()` once the plugin runs, or could not be loaded.
pub type Done = oneshot::Sender<()>;

/// Requests to enable the plugin.
pub(super) struct Enabling {
    asked: mpsc::Receiver<Done>,
    waiting: Vec<Done>,
}

impl Enabling {
    pub(super) fn new(asked: mpsc::Receiver<Done>) -> Self {
        Enabling { asked, waiting: Vec::new() }
    }

    pub(super) async fn asked(&mut self) -> Option<Done> {
        self.asked.recv().await
    }

    /// Answers every waiting request: no load is under way any more.
    pub(super) fn done(&mut self) {
        for done in self.waiting.drain(..) {
            // The requester may have stopped waiting; the plugin runs all the same.
            let _ = done.send(());
        }
    }
}

impl Supervisor {
    /// Loads the plugin at once if it does not run, and clears its recorded deaths. This includes a plugin whose library could not be
    /// loaded: it need not wait for its next retry. Does nothing to a plugin that runs.
    pub(super) fn enable(&mut self, done: Done) {
        self.enabling.waiting.push(done);
        if self.process.is_some() || self.successor.is_some() {
            return;
        }
        tracing::info!(plugin = %self.name, "plugin enabled by the operator");
        self.strikes.forget();
        if self.loading.is_none() {
            self.begin_loading();
        }
    }
}
