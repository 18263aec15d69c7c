//! Logs which files of a look are not recognized and why, in one line per reason, for an operator who waits for a recording.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tracing::info;

/// Why a file is not recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The ledger knows the file by its identity; it has another path now, or was absent for a while.
    Moved,
    /// The file has the bytes of a file that was recognized, at the same path or at a path that is empty now.
    Same,
    /// The file is older than the first start, and its size has not changed.
    Skipped,
}

/// The number of files that are not recognized, and the first of them, by reason.
#[derive(Debug, Default)]
pub(super) struct NotRecognized(BTreeMap<Reason, (u64, PathBuf)>);

impl Reason {
    fn sentence(self) -> &'static str {
        match self {
            Reason::Moved => {
                "known recordings were renamed or are back; the daemon does not recognize them again"
            }
            Reason::Same => {
                "files have the bytes of a recording that was recognized at the same path, or at a path that is empty now; the daemon does not recognize them again. To have one recognized again, remove it and drop it again a minute later"
            }
            Reason::Skipped => {
                "files from before the first start were written or touched, and their size is the same; the daemon skips them until they change once more. To have one recognized, remove it and drop it again a minute later"
            }
        }
    }
}

impl NotRecognized {
    /// Counts a file.
    pub fn add(&mut self, reason: Reason, path: &Path) {
        self.0.entry(reason).or_insert_with(|| (0, path.to_owned())).0 += 1;
    }

    /// Logs the files that were counted since the last call.
    pub fn log(&mut self, source: &str) {
        for (reason, (files, first)) in std::mem::take(&mut self.0) {
            info!(source, files, first = %first.display(), "{}", reason.sentence());
        }
    }
}
