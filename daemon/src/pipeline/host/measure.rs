//! Measures the plugin's own folder, and ends a plugin that keeps more in it than it may.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{LOOK, Supervisor};
use crate::pipeline::folder::OwnFolder;

/// A folder of many files takes long to measure; so much longer it is left alone afterwards.
const REST: u32 = 20;

/// The folder, and when it is looked at.
pub(super) struct Measure {
    folder: OwnFolder,
    running: Option<JoinHandle<(bool, Duration)>>,
    not_before: Instant,
}

impl Measure {
    pub(super) fn new(folder: OwnFolder) -> Self {
        Measure { folder, running: None, not_before: Instant::now() }
    }

    pub(super) fn begin(&mut self) {
        if self.running.is_some() || Instant::now() < self.not_before {
            return;
        }
        let folder = self.folder.clone();
        self.running = Some(tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            (folder.is_over(), began.elapsed())
        }));
    }

    /// Whether the folder holds too much, when that is known. Waits for ever while it is not measured.
    pub(super) async fn is_over(&mut self) -> bool {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        // A look that did not come to its end has found nothing.
        let (is_over, elapsed) = running.await.unwrap_or_default();
        self.running = None;
        self.not_before = Instant::now() + (elapsed * REST).max(LOOK);
        is_over
    }
}

impl Supervisor {
    /// What fills the ledger's disk stops every other plugin, and the daemon: there is no second and third chance.
    pub(super) async fn over_its_folder(&mut self) {
        for process in [&mut self.process, &mut self.successor].into_iter().flatten() {
            process.kill().await;
        }
        let is_new = self.process.take().is_some() | self.successor.take().is_some() | self.loading.is_some();
        self.sent = 0;
        let folder = self.measure.folder.clone();
        if is_new {
            self.count("folder");
            self.quarantine(format!(
                "its folder {} held more than {} bytes (`memory_limit`, and at most an eighth of the disk); its newest files were \
                 removed; have it keep less there, or raise `memory_limit`",
                folder.path().display(),
                folder.most()
            ));
        }
        let path = folder.path().display().to_string();
        // A cut that did not come to its end is repeated at the next look.
        let removed_bytes = tokio::task::spawn_blocking(move || folder.cut_back()).await.unwrap_or_default();
        if removed_bytes > 0 {
            tracing::warn!(plugin = %self.name, folder = path, removed_bytes, "the newest files of the plugin's own folder were removed");
        }
    }
}
