//! Reads files that are ready and takes them in, concurrently with the scan, a few batches at a time.

use std::collections::{BTreeSet, HashMap};
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, debug};

use super::absent::Absences;
use super::context::{Context, blocking};
use super::identity::is_vacated;
use super::intake::{self, Hashed, ReadOutcome};
use super::ready::{self, NotRead};
use super::sidecar;
use super::standing_still::SettledFile;
use crate::job::Duty;
use crate::job::ledger::LedgerError;
use crate::job::ledger::files::{self, Known};

/// Batches that are read at the same time; more would not be faster with one disk and two cores.
const READERS: usize = 4;

/// Limits of a batch, which is read and written into the ledger together: small, so that its first file does not wait for long. A file that
/// is larger is a batch by itself.
const READ_FILES: usize = 64;
const READ_BYTES: u64 = 16 << 20;

/// The most known files with equal bytes that are checked for absence when another file with these bytes appears.
const MOST_EQUAL: usize = 256;

/// What came of the files of a batch.
type Outcomes = Vec<(SettledFile, Result<ReadOutcome, NotRead>)>;

/// The tasks that read. They end with this value, within a buffer's time.
pub(super) struct Readers {
    context: Arc<Context>,
    absences: Absences,
    reading: JoinSet<Result<Outcomes, LedgerError>>,
    /// Files that are being read, with their sizes.
    in_flight: HashMap<PathBuf, u64>,
    stop: CancellationToken,
    _stop_at_end: DropGuard,
}

impl Readers {
    pub fn new(context: Arc<Context>, absences: Absences) -> Readers {
        let stop = CancellationToken::new();
        let _stop_at_end = stop.clone().drop_guard();
        Readers { context, absences, reading: JoinSet::new(), in_flight: HashMap::new(), stop, _stop_at_end }
    }

    pub fn are_busy(&self) -> bool {
        self.reading.len() >= READERS
    }

    /// Whether the file at this path is being read.
    pub fn have(&self, path: &Path) -> bool {
        self.in_flight.contains_key(path)
    }

    /// Whether a file of this size is being read.
    pub fn have_size(&self, size: u64) -> bool {
        self.in_flight.values().any(|of| *of == size)
    }

    /// Begins to read a batch of the files that are ready.
    pub fn begin(&mut self, ready: &mut Peekable<impl Iterator<Item = SettledFile>>, is_network: bool) {
        let (mut bytes, mut batch) = (0, Vec::new());
        while let Some(ready) = ready.next_if(|ready| {
            let fits = bytes + ready.file.stamp.identity.size <= READ_BYTES;
            batch.is_empty() || (batch.len() < READ_FILES && fits)
        }) {
            bytes += ready.file.stamp.identity.size;
            self.in_flight.insert(ready.file.path.clone(), ready.file.stamp.identity.size);
            batch.push(ready);
        }
        let (context, absences, stop) = (Arc::clone(&self.context), self.absences.clone(), self.stop.clone());
        let read = async move {
            let (hashed, mut outcomes) = hash_batch(&context, batch, is_network, stop).await?;
            outcomes.extend(take_in(&context, hashed, absences).await?);
            Ok(outcomes)
        };
        self.reading.spawn(read.in_current_span());
    }

    /// Waits until a batch has been read; for ever, if none is being read.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn next(&mut self) -> Result<Outcomes, LedgerError> {
        let Some(read) = self.reading.join_next().await else { return std::future::pending().await };
        let outcomes = read.unwrap_or(Err(LedgerError::Closed))?;
        for (ready, _) in &outcomes {
            self.in_flight.remove(&ready.file.path);
        }
        Ok(outcomes)
    }
}

/// Hashes the files that are ready; the others have their outcomes.
async fn hash_batch(
    context: &Arc<Context>,
    batch: Vec<SettledFile>,
    is_network: bool,
    stop: CancellationToken,
) -> Result<(Vec<Hashed>, Outcomes), LedgerError> {
    let context = Arc::clone(context);
    let hash = move || {
        let (mut hashed, mut outcomes) = (Vec::new(), Vec::new());
        for ready in batch {
            match ready::read(&context, &ready, is_network, &stop) {
                Ok(sha256) => {
                    let below = ready.file.path.strip_prefix(context.root()).unwrap_or(&ready.file.path);
                    let recording_metadata = sidecar::read(&context, below);
                    hashed.push(Hashed { ready, sha256, recording_metadata, vacated: Vec::new() });
                }
                Err(not_read) => outcomes.push((ready, Err(not_read))),
            }
        }
        (hashed, outcomes)
    };
    blocking(hash).await
}

/// Writes hashed files into the ledger, in one transaction. The tasks that process the new jobs are woken here, and not by the scan, which
/// may be waiting for admission while jobs that are in the ledger can go on.
async fn take_in(
    context: &Arc<Context>,
    mut hashed: Vec<Hashed>,
    absences: Absences,
) -> Result<Outcomes, LedgerError> {
    if hashed.is_empty() {
        return Ok(Vec::new());
    }
    find_vacated(context, &mut hashed, &absences).await?;
    let files: Vec<SettledFile> = hashed.iter().map(|file| file.ready.clone()).collect();
    let take_in = move |connection: &Connection, context: &Context| {
        let take_in = |file| intake::take_in(connection, context, file, &absences);
        hashed.iter().map(take_in).collect::<Result<Vec<_>, _>>()
    };
    let taken = context.write(take_in).await?;
    for taken in &taken {
        if let ReadOutcome::Job(job) = taken {
            debug!(%job, "taken in");
        }
    }
    // Settle: a file that was found to be a known one may have been absent when it was to be put away.
    for duty in [Duty::Prepare, Duty::Publish, Duty::Settle] {
        context.ledger.wake(duty);
    }
    Ok(files.into_iter().zip(taken.into_iter().map(Ok)).collect())
}

/// Finds known files with the same bytes that are no longer at their paths.
async fn find_vacated(
    context: &Arc<Context>,
    hashed: &mut [Hashed],
    absences: &Absences,
) -> Result<(), LedgerError> {
    let hashes: BTreeSet<String> = hashed.iter().map(|file| file.sha256.clone()).collect();
    let equal = context.read(move |connection, context| {
        let equal =
            hashes.iter().map(|sha256| files::with_sha256(connection, context.source(), sha256, MOST_EQUAL));
        Ok(equal.collect::<Result<Vec<_>, _>>()?.concat())
    });
    let equal = equal.await?;
    // If the watched folder cannot be opened, it is unknown whether the files are at their paths.
    let vacated = context.in_folder(move |root, _| {
        equal.into_iter().filter(|known| is_vacated(&root, known)).collect::<Vec<Known>>()
    });
    let vacated = vacated.await?.unwrap_or_default();
    for file in hashed {
        let same = vacated.iter().filter(|known| {
            known.sha256.as_ref() == Some(&file.sha256) && !absences.is_before(known.id, file.ready.seen)
        });
        file.vacated = same.cloned().collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::job::ledger::Ledger;
    use crate::source::directory::found::Found;
    use crate::telemetry::metrics::Metrics;

    #[tokio::test]
    async fn who_goes_on_with_the_jobs_is_woken_however_long_the_scan_waits() {
        let disk = tempfile::tempdir().unwrap();
        let path = disk.path().join("a.wav");
        std::fs::write(&path, "a").unwrap();
        let ledger = Ledger::open(&disk.path().join("state")).unwrap();
        let mut woken = [Duty::Prepare, Duty::Publish].map(|duty| (duty, ledger.wakes(duty)));
        let config = toml::from_str(&format!("name = \"calls\"\npath = {:?}", disk.path())).unwrap();
        let context = Arc::new(Context::new(config, ledger, Metrics::new(), 0.0).unwrap());
        let status = rustix::fs::lstat(&path).unwrap();
        let file = Found::of(path, &status).unwrap();
        let mut readers = Readers::new(context, Absences::default());
        readers.begin(&mut vec![SettledFile { file, seen: 1, long: false }].into_iter().peekable(), false);
        let outcomes = readers.next().await.unwrap();
        assert!(matches!(outcomes[..], [(_, Ok(ReadOutcome::Job(_)))]), "{outcomes:?}");
        for (duty, woken) in &mut woken {
            assert!(woken.changed().now_or_never().is_some(), "{duty:?} sleeps");
        }
    }
}
