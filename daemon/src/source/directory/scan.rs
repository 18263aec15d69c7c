//! Comparing a folder with the ledger, and doing what follows.
//!
//! Everything here is bounded: files are listed and compared a piece at a time, a few are read at once, those that have not stood still
//! wait in a table of limited size, and what does not fit anywhere is met again by the next scan.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, trace, warn};

use super::before::Met;
use super::choice::{Choice, Entered};
use super::complaints::{Complaints, key_of};
use super::identity::compare;
use super::intake::Destination;
use super::piece::{Read, read_piece};
use super::root::{Root, look_into, remedy};
use super::settle::{Now, Settling, Verdict};
use super::walk::{Found, Walk, kind};
use super::watch::{Hints, Watch};
use crate::config::Existing;
use crate::job::Duty;
use crate::job::ledger::places::Place;
use crate::job::ledger::{Door, Ledger, LedgerError};
use crate::os;
use crate::telemetry::metrics::Metrics;

/// Files listed and compared at once.
pub(super) const PIECE: usize = 512;

/// Files that may wait for standing still: one that waits is looked at by itself, the others cost a full scan.
const MOST_WAITING: usize = 10_000;

/// Pieces of files that are read at once; the disk and two cores want no more.
const READERS: usize = 4;

/// A piece that is read and written into the ledger together: few enough that the first is not kept waiting. A larger file is a piece
/// by itself.
const READ_FILES: usize = 64;
const READ_BYTES: u64 = 16 << 20;

/// Why looking ends.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The folder cannot be listed (any more).
    #[error("{path}: {error}; {}", remedy(.error))]
    Folder { path: PathBuf, error: std::io::Error },
    /// Nothing can be taken in.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What does not change while a folder is looked at.
pub struct Surroundings {
    pub destination: Destination,
    pub choice: Arc<Choice>,
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
    reading: JoinSet<Result<Read, LedgerError>>,
    /// Being read, with their sizes.
    in_flight: HashMap<PathBuf, u64>,
    pub(super) missing: HashSet<i64>,
    pub(super) complaints: Complaints,
    said_no_lease: bool,
    is_network: bool,
    /// Files wait for the door to open, see [`Scan::admitted`].
    pub turned_away: bool,
    /// Some folder gives no hints.
    pub hintless: bool,
    /// Whether the last full scan has seen all that is there; else why not.
    pub seen: Result<(), String>,
}

impl Scan {
    /// Begins. Nothing is looked at yet.
    pub fn begin(around: Surroundings, settle: Duration) -> Scan {
        // Of a piece that was being read when the last scan ended, the jobs may be in the ledger and nobody was told.
        around.ledger.wake(Duty::Prepare);
        around.ledger.wake(Duty::Publish);
        Scan {
            around,
            settling: Settling::new(settle, MOST_WAITING),
            places: HashMap::new(),
            reading: JoinSet::new(),
            in_flight: HashMap::new(),
            missing: HashSet::new(),
            complaints: Complaints::default(),
            said_no_lease: false,
            is_network: false,
            turned_away: false,
            hintless: false,
            seen: Ok(()),
        }
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// When the folder itself is not there or cannot be read, or the ledger is closed.
    pub async fn everything(&mut self) -> Result<(), ScanError> {
        self.settling.scanned();
        self.seen = Ok(());
        let root = self.around.choice.root.clone();
        let (opened, status) = look_into(&root).await?;
        // Another filesystem may be mounted there since the last look.
        let is_network = opened.is_network();
        if is_network && !self.is_network {
            let source = &self.around.destination.source;
            info!(
                source,
                "the folder is on a network filesystem, whose changes raise no events here; it is looked at more often"
            );
        }
        self.is_network = is_network;
        self.settling.trust_ctime(!self.is_network);
        self.hintless = self.is_network || self.around.watch.is_none();
        self.meet(Place { dev: status.st_dev, inode: status.st_ino }).await?;
        let mut devices = HashSet::from([status.st_dev]);
        let met = self.walk(opened, &root, &mut devices).await?;
        trace!(source = self.around.destination.source, known = met, "looked at everything");
        self.places_are_scanned(&devices).await?;
        self.forget_gone(met, devices).await?;
        self.count();
        Ok(())
    }

    /// Looks where hints point.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn hinted(&mut self, hints: Hints) -> Result<(), ScanError> {
        trace!(
            source = self.around.destination.source,
            paths = hints.paths.len(),
            "looking where hints point"
        );
        let choice = Arc::clone(&self.around.choice);
        let (found, folders) = blocking(move || {
            let mut folders = Vec::new();
            let mut found = Vec::new();
            // What is not there any more, the next full scan tells.
            let Ok(root) = Root::open(&choice.root) else { return (found, folders) };
            for path in hints.paths {
                // A watch stays with its folder, wherever that is moved, and tells of it under the name that it had.
                match root.status(&path) {
                    Ok(status) if kind(&status).is_dir() => {
                        if choice.enters(&path) == Entered::Yes {
                            folders.push(path);
                        }
                    }
                    Ok(_) if choice.wants(&path) => found.extend(Found::at(&root, path)),
                    _ => {}
                }
            }
            (found, folders)
        })
        .await?;
        self.look_at(found).await?;
        for folder in folders {
            let path = self.around.choice.root.clone();
            if let Ok(root) = blocking(move || Root::open(&path)).await? {
                self.walk(root, &folder, &mut HashSet::new()).await?;
            }
        }
        self.count();
        Ok(())
    }

    /// Looks at the files that should have stood still by now.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn due(&mut self) -> Result<(), ScanError> {
        let due = self.settling.take_due(now());
        let choice = Arc::clone(&self.around.choice);
        let (found, gone) = blocking(move || {
            let mut gone = Vec::new();
            let root = Root::open(&choice.root).ok();
            let found: Vec<Found> = due
                .into_iter()
                .filter_map(|path| {
                    let found = root.as_ref().and_then(|root| Found::at(root, path.clone()));
                    if found.is_none() {
                        gone.push(path);
                    }
                    found
                })
                .collect();
            (found, gone)
        })
        .await?;
        gone.iter().for_each(|path| self.settling.forget(path));
        self.look_at(found).await?;
        self.count();
        Ok(())
    }

    /// Waits for a piece that is being read; for ever, if there is none.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn read(&mut self) -> Result<(), ScanError> {
        match self.reading.join_next().await {
            Some(outcome) => self.absorb(outcome.unwrap_or(Err(LedgerError::Closed))?),
            None => std::future::pending().await,
        }
        self.count();
        Ok(())
    }

    /// Waits until files may come in that were turned away; for ever, if there are none. The next full scan meets them.
    pub fn admitted(&self) -> impl Future<Output = ()> + use<> {
        let ledger = self.turned_away.then(|| self.around.ledger.clone());
        async move {
            match ledger {
                Some(ledger) => ledger.admitted().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Returns how many of the files that it met the ledger knows by path.
    async fn walk(
        &mut self,
        root: Root,
        folder: &Path,
        devices: &mut HashSet<u64>,
    ) -> Result<u64, ScanError> {
        let (choice, watch) = (Arc::clone(&self.around.choice), self.around.watch.clone());
        let start = folder.to_owned();
        let mut walk = blocking(move || Walk::of(root, &start, choice, watch)).await?;
        let mut met = 0;
        loop {
            let (walked, piece) = blocking(move || {
                let piece = walk.next(PIECE);
                (walk, piece)
            })
            .await?;
            walk = walked;
            for trouble in walk.take_troubles() {
                self.complain_of(&trouble);
            }
            if piece.is_empty() {
                return Ok(met);
            }
            devices.extend(piece.iter().map(|found| found.stamp.identity.dev));
            met += self.look_at(piece).await?;
        }
    }

    /// Compares files with the ledger and does what follows. Returns how many the ledger knew by path.
    async fn look_at(&mut self, mut found: Vec<Found>) -> Result<u64, ScanError> {
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
            if compared.is_known {
                self.settling.forget(&found.path);
            } else if self.in_flight.contains_key(&found.path) {
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
            } else if self.settling.look(&found.path, found.stamp, now()) == Verdict::Still {
                ready.push(found);
            }
        }
        self.skip(old).await?;
        self.take_in(ready).await?;
        Ok(met)
    }

    /// Reads files and takes them in, a few pieces at a time; waits while too many are being read. Where nothing more may come in they wait
    /// where they lie, and the scan goes on: what was moved has to be followed all the same.
    async fn take_in(&mut self, ready: Vec<Found>) -> Result<(), ScanError> {
        let mut ready = ready.into_iter().peekable();
        while ready.peek().is_some() {
            if *self.around.ledger.admission().borrow() != Door::Open {
                self.turned_away = true;
                return Ok(());
            }
            let mut bytes = 0;
            let mut piece = Vec::new();
            while let Some(found) = ready.next_if(|found| {
                let fits = bytes + found.stamp.identity.size <= READ_BYTES;
                piece.is_empty() || (piece.len() < READ_FILES && fits)
            }) {
                bytes += found.stamp.identity.size;
                self.in_flight.insert(found.path.clone(), found.stamp.identity.size);
                piece.push(found);
            }
            while self.reading.len() >= READERS {
                self.read().await?;
            }
            let (to, ledger) = (self.around.destination.clone(), self.around.ledger.clone());
            let stop = self.around.stop.clone();
            self.reading.spawn(read_piece(piece, to, self.is_network, ledger, stop).in_current_span());
        }
        Ok(())
    }

    /// Whether a file of this size may be a copy of one that has just gone: it has not stood still, may not come in, or is being read.
    pub(super) fn awaits_size(&self, size: u64) -> bool {
        self.turned_away || self.settling.has_size(size) || self.in_flight.values().any(|of| *of == size)
    }

    fn absorb(&mut self, read: Read) {
        let source = &self.around.destination.source;
        for found in &read.files {
            self.in_flight.remove(&found.path);
        }
        for found in read.again {
            self.settling.postpone(&found.path, found.stamp, now());
        }
        for (found, error) in read.unreadable {
            self.settling.postpone(&found.path, found.stamp, now());
            self.around.metrics.source_unreadable.with_label_values(&[source]).inc();
            if self.complaints.is_first(key_of(&found)) {
                warn!(source, path = %found.path.display(), %error, "a recording waits because it cannot be read");
            }
        }
        if read.unleased && !self.said_no_lease {
            self.said_no_lease = true;
            info!(
                source,
                "the kernel does not say whether files are open for writing (they are another user's and CAP_LEASE is missing, or the filesystem has no leases); settle alone decides"
            );
        }
        if read.accepted > 0 {
            self.around.metrics.source_accepted.with_label_values(&[source]).inc_by(read.accepted);
            info!(source, recordings = read.accepted, "taken in");
        }
    }

    fn count(&self) {
        let waiting = i64::try_from(self.settling.waiting()).unwrap_or(i64::MAX);
        let source = &self.around.destination.source;
        self.around.metrics.source_unsettled.with_label_values(&[source]).set(waiting);
    }
}

/// Both clocks at this moment. The wall's never steps forward: a file written just before a step would seem to have stood still for long.
pub fn now() -> Now {
    let wall_ns = os::cautious_now().as_nanosecond();
    Now { monotonic: Instant::now(), wall_ns: i64::try_from(wall_ns).unwrap_or(i64::MAX) }
}

/// A blocking thread ends without an answer only when the runtime does, and the ledger with it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LedgerError> {
    spawn_blocking(work).await.map_err(|_| LedgerError::Closed)
}
