//! Measures the plugin's own folder, and quarantines a plugin that keeps more in it than its limit.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{LOOK, Supervisor};
use crate::pipeline::folder::OwnFolder;

/// Pause between two measurements, as a multiple of the last one's duration: a folder of many files takes long to measure.
const PAUSE_FACTOR: u32 = 20;

/// The folder, and the schedule of its measurements.
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

    /// Waits for the running measurement and returns whether the folder holds too much. Pends forever while no measurement runs.
    pub(super) async fn is_over(&mut self) -> bool {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        // A measurement that panicked counts as not over the limit.
        let (is_over, elapsed) = running.await.unwrap_or_default();
        self.running = None;
        self.not_before = Instant::now() + (elapsed * PAUSE_FACTOR).max(LOOK);
        is_over
    }
}

impl Supervisor {
    /// Quarantines the plugin at the first offence, without counting strikes: a full ledger disk stops every other plugin and the daemon.
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
        // A removal that panicked is repeated after the next measurement.
        let removed_bytes = tokio::task::spawn_blocking(move || folder.cut_back()).await.unwrap_or_default();
        if removed_bytes > 0 {
            tracing::warn!(plugin = %self.name, folder = path, removed_bytes, "the newest files of the plugin's own folder were removed");
        }
    }
}
