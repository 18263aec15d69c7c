//! Files that were there before the folder was first watched: what they are, and what hearing them costs.

use tracing::info;

use super::intake;
use super::scan::Scan;
use super::walk::Found;
use crate::config::Existing;
use crate::job::ledger::LedgerError;

/// The first scan, while it goes on: when the folder was first watched, and what was met that is older.
pub(super) struct First {
    pub since_ns: i64,
    pub files: u64,
    pub bytes: u64,
}

impl Scan {
    /// Whether a file was there before the folder was first watched. Its ctime tells, so that a crash in the middle of the first scan
    /// changes nothing: with `existing = "skip"` what was there before stays unheard, what came since is heard. Counts
    /// it.
    pub(super) fn was_before(&mut self, found: &Found) -> bool {
        let Some(first) = self.first.as_mut().filter(|first| found.stamp.ctime_ns < first.since_ns) else {
            return false;
        };
        // Only the full scan goes on while it is the first: each file is met once.
        first.files += 1;
        first.bytes += found.stamp.identity.size;
        true
    }

    /// How many there were, and what hearing them costs: the price of an hour, for only a look inside would tell how many hours they are.
    pub(super) fn tell_of_before(&self, first: &First) {
        let (First { files, bytes, .. }, source) = (first, &self.around.destination.source);
        let usd_per_hour = (self.around.price * 3.6e9).round() / 1e6;
        match self.around.existing {
            _ if *files == 0 => {}
            Existing::Skip => info!(
                source,
                files,
                bytes,
                usd_per_hour,
                "files that were there before the first start stay unheard; existing = \"process\" takes them in a new source, at this price of an hour of audio"
            ),
            Existing::Process => info!(
                source,
                files,
                bytes,
                usd_per_hour,
                "files that were there before the first start are heard, at this price of an hour of audio"
            ),
        }
    }

    pub(super) async fn skip(&self, old: Vec<Found>) -> Result<(), LedgerError> {
        if old.is_empty() {
            return Ok(());
        }
        let source = self.around.destination.source.clone();
        self.around
            .ledger
            .write(move |connection| {
                old.iter().try_for_each(|found| intake::skip(connection, &source, found))
            })
            .await
    }
}
