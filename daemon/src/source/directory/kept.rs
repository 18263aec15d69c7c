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

impl Scan {
    /// Logs the files that were counted since the last call.
    pub(super) fn tell_of_kept(&mut self) {
        let Kept { moved, same, skipped } = std::mem::take(&mut self.kept);
        let source = &self.around.destination.source;
        if moved.number > 0 {
            info!(
                source,
                files = moved.number,
                first = %moved.first.display(),
                "files that are known have other names, or are back, and are not heard again"
            );
        }
        if same.number > 0 {
            info!(
                source,
                files = same.number,
                first = %same.first.display(),
                "files have the bytes of recordings that were heard in their place, or in one that is empty now, and are not heard again; to have one heard again, remove it and put it there a minute later"
            );
        }
        if skipped.number > 0 {
            info!(
                source,
                files = skipped.number,
                first = %skipped.first.display(),
                "files that were there before the first start were written or touched and have their size still; they stay unheard until their bytes change once more; to have one heard, remove it and put it there a minute later"
            );
        }
    }
}
