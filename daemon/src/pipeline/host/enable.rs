//! A person ends a quarantine.

use tokio::sync::{mpsc, oneshot};

use super::Supervisor;

/// Told once the plugin runs, or could not be loaded.
pub type Done = oneshot::Sender<()>;

/// Those who asked.
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

    /// There is nothing more to wait for.
    pub(super) fn done(&mut self) {
        for done in self.waiting.drain(..) {
            // Nobody may be waiting any more; the plugin runs all the same.
            let _ = done.send(());
        }
    }
}

impl Supervisor {
    /// Loads the plugin at once if it does not run, with a clean slate: also one whose library could not be loaded, before it would be
    /// tried again. One that runs is left alone.
    pub(super) fn enable(&mut self, done: Done) {
        self.enabling.waiting.push(done);
        if self.process.is_some() || self.successor.is_some() {
            return;
        }
        tracing::info!(plugin = %self.name, "plugin enabled by hand");
        self.strikes.forget();
        if self.loading.is_none() {
            self.begin_loading();
        }
    }
}
