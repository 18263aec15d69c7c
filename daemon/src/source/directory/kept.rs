//! Logs which files of a look are not heard and why, in one line per reason, for an operator who waits for a recording.

use std::path::{Path, PathBuf};

use tracing::info;

use super::scan::Scan;

/// Files that were not heard, by reason.
#[derive(Debug, Default)]
pub struct Kept {
    moved: Files,
    same: Files,
    skipped: Files,
}

#[derive(Debug, Default)]
struct Files {
    number: u64,
    first: PathBuf,
}

/// Why a file is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The ledger knows the file by its identity; it has another path now, or was absent for a while.
    Moved,
    /// The file has the bytes of a file that was heard, at the same path or at a path that is empty now.
    Same,
    /// The file is older than the first start, and its size has not changed.
    Skipped,
}

impl Kept {
    /// Counts a file.
    pub fn add(&mut self, reason: Reason, path: &Path) {
        let files = match reason {
            Reason::Moved => &mut self.moved,
            Reason::Same => &mut self.same,
            Reason::Skipped => &mut self.skipped,
        };
        if files.number == 0 {
            path.clone_into(&mut files.first);
        }
        files.number += 1;
    }
}

const MOVED: &str = "known recordings were renamed or are back; the daemon does not recognize them again";
const SAME: &str = "files have the bytes of a recording that was recognized at the same path, or at a path that is empty now; the daemon does not recognize them again. To have one recognized again, remove it and drop it again a minute later";
const SKIPPED: &str = "files from before the first start were written or touched, and their size is the same; the daemon skips them until they change once more. To have one recognized, remove it and drop it again a minute later";

impl Scan {
    /// Logs the files that were counted since the last call.
    pub(super) fn tell_of_kept(&mut self) {
        let Kept { moved, same, skipped } = std::mem::take(&mut self.kept);
        let source = &self.around.destination.source;
        for (files, message) in [(moved, MOVED), (same, SAME), (skipped, SKIPPED)] {
            if files.number > 0 {
                info!(source, files = files.number, first = %files.first.display(), "{message}");
            }
        }
    }
}
