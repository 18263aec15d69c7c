//! Compares a folder with the ledger, and acts on the differences.
//!
//! All memory here is bounded: files are listed and compared a piece at a time, a few are read at once, files that have not stood still yet
//! wait in a table of limited size, and the next scan meets the files that did not fit.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::absent::Absences;
use super::before::Met;
use super::complaints::Complaints;
use super::file_filter::FileFilter;
use super::identity::compare;
use super::intake::Destination;
use super::kept::Kept;
use super::piece::Read;
use super::root::remedy;
use super::settle::{Now, Settling, Stillness};
use super::walk::Found;
use super::watch::Watch;
use crate::config::Existing;
use crate::job::Duty;
use crate::job::ledger::places::Place;
use crate::job::ledger::{Ledger, LedgerError};
use crate::os;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// Files listed and compared at once.
pub(super) const PIECE: usize = 512;

/// The most files that may wait until they have stood still. Each of these is looked at by itself; further files need a full scan.
const MOST_WAITING: usize = 10_000;

/// Why a look at the folder failed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The folder cannot be opened or listed.
    #[error("{path}: {error}; {}", remedy(.error))]
    Folder { path: PathBuf, error: std::io::Error },
    /// The ledger is closed or damaged, so no file can be taken in.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What stays the same for all looks at a folder.
pub struct Surroundings {
    pub destination: Destination,
    pub file_filter: Arc<FileFilter>,
    pub existing: Existing,
    /// USD per second of audio.
    pub price: f64,
    pub ledger: Ledger,
    pub metrics: Metrics,
    pub watch: Option<Arc<Watch>>,
    pub stop: CancellationToken,
}

/// The state of looking at one folder.
pub struct Scan {
    pub(super) around: Surroundings,
    pub settling: Settling,
    /// By device.
    pub(super) places: HashMap<u64, Met>,
    pub(super) reading: JoinSet<Result<Read, LedgerError>>,
    /// Files that are being read, with their sizes.
    pub(super) in_flight: HashMap<PathBuf, u64>,
    /// The number of the present or last look.
    pub(super) look: u64,
    pub(super) absences: Absences,
    pub(super) kept: Kept,
    pub(super) complaints: Complaints,
    pub(super) grown: OnceAMinute,
    pub(super) said_no_lease: bool,
    pub(super) is_network: bool,
    /// Files were turned away because the ledger admitted no more jobs, see [`Scan::admitted`].
    pub turned_away: bool,
    /// Changes in some folder raise no hints.
    pub hintless: bool,
    /// Whether the last full scan could list every folder; else why not.
    pub seen: Result<(), String>,
}

impl Scan {
    /// A scan that has not looked at the folder yet.
    pub fn begin(around: Surroundings, settle: Duration) -> Scan {
        // A piece that was being read when the last scan ended may have put jobs into the ledger without waking the tasks that process them.
        around.ledger.wake(Duty::Prepare);
        around.ledger.wake(Duty::Publish);
        Scan {
            around,
            settling: Settling::new(settle, MOST_WAITING),
            places: HashMap::new(),
            reading: JoinSet::new(),
            in_flight: HashMap::new(),
            look: 0,
            absences: Absences::default(),
            kept: Kept::default(),
            complaints: Complaints::default(),
            grown: OnceAMinute::default(),
            said_no_lease: false,
            is_network: false,
            turned_away: false,
            hintless: false,
            seen: Ok(()),
        }
    }

    /// Compares files with the ledger and acts on the differences. Returns how many the ledger knew by path.
    pub(super) async fn look_at(&mut self, mut found: Vec<Found>) -> Result<u64, ScanError> {
        let mut met = 0;
        while !found.is_empty() {
            let rest = found.split_off(found.len().min(PIECE));
            met += self.look_at_piece(std::mem::replace(&mut found, rest)).await?;
        }
        Ok(met)
    }

    async fn look_at_piece(&mut self, found: Vec<Found>) -> Result<u64, ScanError> {
        for found in &found {
            self.meet(Place { dev: found.stamp.identity.dev, inode: 0 }).await?;
        }
        let source = self.around.destination.source.clone();
        let compared = self
            .around
            .ledger
            .read(move |connection| {
                let compare = |found: Found| Ok((compare(connection, &source, &found)?, found));
                found.iter().cloned().map(compare).collect::<Result<Vec<_>, LedgerError>>()
            })
            .await?;
        let mut met = 0;
        let mut fresh = Vec::new();
        let mut perhaps_known = Vec::new();
        for (compared, found) in compared {
            met += compared.met;
            if compared.has_grown {
                self.mention_grown(&found);
            }
            if let Some(row) = compared.known {
                self.settling.forget(&found.path);
                self.absences.is_back(row);
            } else if self.in_flight.contains_key(&found.path) {
                // The task that reads the file reports the outcome.
            } else if compared.candidates.is_empty() {
                fresh.push(found);
            } else {
                perhaps_known.push((found, compared.candidates));
            }
        }
        fresh.extend(self.follow(perhaps_known).await?);
        let mut ready = Vec::new();
        let mut old = Vec::new();
        for found in fresh {
            let was_before = self.was_before(&found);
            if was_before && self.around.existing == Existing::Skip {
                old.push(found);
            } else if found.stamp.identity.size == 0 {
                self.mention_empty(&found);
            } else if let Stillness::Still { seen, long } =
                self.settling.look(&found.path, found.stamp, now(), self.look)
            {
                ready.push(Found { seen, long, ..found });
            }
        }
        self.skip(old).await?;
        self.take_in(ready).await?;
        Ok(met)
    }

    /// Logs and sets metrics after each look, and after each piece that was read.
    pub(super) fn ended(&mut self) {
        self.tell_of_kept();

        let waiting = i64::try_from(self.settling.waiting()).unwrap_or(i64::MAX);
        let source = &self.around.destination.source;
        self.around.metrics.source_unsettled.with_label_values(&[source]).set(waiting);
    }
}

/// The present time on both clocks. The wall clock used here does not follow forward steps: otherwise a file that was written just before a
/// step would seem to have stood still for long.
pub fn now() -> Now {
    let wall_ns = os::cautious_now().as_nanosecond();
    Now { monotonic: Instant::now(), wall_ns: i64::try_from(wall_ns).unwrap_or(i64::MAX) }
}

/// Runs blocking work. Its thread ends without a result only when the runtime ends, and the ledger with it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LedgerError> {
    spawn_blocking(work).await.map_err(|_| LedgerError::Closed)
}
