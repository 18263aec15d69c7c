//! What is not heard though it came: said in one line for all files of a look, so that an operator who waits for a recording finds out why.

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
    /// It is known by its identity, under another name or after it was away.
    Moved,
    /// It has the bytes of one that was heard, in its place or in a place that is empty since.
    Same,
    /// It was there before the first start, and has its size still.
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
    /// Says what was counted since the last time.
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
