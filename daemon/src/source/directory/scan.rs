//! Comparing a folder with the ledger, and doing what follows.
//!
//! Everything here is bounded: files are listed and compared a piece at a time, a few are read at once, those that have not stood still
//! wait in a table of limited size, and what does not fit anywhere is met again by the next scan.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, trace, warn};

use super::before::First;
use super::complaints::{Complaints, key_of};
use super::intake::Destination;
use super::piece::{Read, read_piece};
use super::root::{look_into, remedy};
use super::settle::{Now, Settling, Verdict};
use super::walk::{Choice, Found, Walk};
use super::watch::{Hints, Watch};
use crate::config::Existing;
use crate::http::metrics::Metrics;
use crate::job::Duty;
use crate::job::ledger::files::{self, Known};
use crate::job::ledger::{Door, Ledger, LedgerError};
use crate::os;

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

/// A file's ctime comes from the kernel's coarse clock, which lags behind the one read here by a timer tick (10 ms at most; more on a
/// virtual machine that was not let run). What came this shortly before the first start counts as new: it is heard, not lost.
const CTIME_LAG: Duration = Duration::from_millis(100);

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

/// Begins the first scan of a folder, before the folder need be there, or goes on with it: when it was first to be watched, if the
/// scan has not ended since.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn first_scan(ledger: &Ledger, source: &str, root: &Path) -> Result<Option<i64>, LedgerError> {
    let (source, root) = (source.to_owned(), root.to_owned());
    let now_ns = now().wall_ns - i64::try_from(CTIME_LAG.as_nanos()).unwrap_or(0);
    ledger.write(move |connection| files::first_scan(connection, &source, &root, now_ns)).await
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
    /// While the first scan goes on: when the folder was first watched.
    pub(super) first: Option<First>,
    reading: JoinSet<Result<Read, LedgerError>>,
    /// Being read, with their sizes.
    in_flight: HashMap<PathBuf, u64>,
    pub(super) missing: HashSet<PathBuf>,
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

/// What the ledger says about a file.
enum Compared {
    /// It is as it was.
    Known,
    /// It is as it was, and was away: it is on a filesystem that has another number since it was mounted again, or was missed when it was
    /// to be put away.
    Back(Known),
    /// It is new or has changed; perhaps it is one of these, moved.
    Fresh(Vec<Known>),
}

impl Scan {
    /// Begins. Nothing is looked at yet.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn begin(
        around: Surroundings,
        settle: Duration,
        is_network: bool,
    ) -> Result<Scan, LedgerError> {
        let since = first_scan(&around.ledger, &around.destination.source, &around.choice.root).await?;
        // Of a piece that was being read when the last scan ended, the jobs may be in the ledger and nobody was told.
        around.ledger.wake(Duty::Prepare);
        around.ledger.wake(Duty::Publish);
        Ok(Scan {
            around,
            settling: Settling::new(settle, !is_network, MOST_WAITING),
            first: since.map(|since_ns| First { since_ns, files: 0, bytes: 0 }),
            reading: JoinSet::new(),
            in_flight: HashMap::new(),
            missing: HashSet::new(),
            complaints: Complaints::default(),
            said_no_lease: false,
            is_network,
            turned_away: false,
            hintless: is_network,
            seen: Ok(()),
        })
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// When the folder itself is not there or cannot be read, or the ledger is closed.
    pub async fn everything(&mut self) -> Result<(), ScanError> {
        self.settling.scanned();
        self.seen = Ok(());
        let root = self.around.choice.root.clone();
        let mut devices = HashSet::from([look_into(&root).await?.dev()]);
        let met = self.walk(&root, &mut devices).await?;
        trace!(source = self.around.destination.source, known = met, "looked at everything");
        self.forget_gone(met, devices).await?;
        if let Some(first) = self.first.take() {
            let source = self.around.destination.source.clone();
            self.around.ledger.write(move |c| files::first_scan_done(c, &source, &root)).await?;
            self.tell_of_before(&first);
        }
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
            for path in hints.paths {
                // A watch stays with its folder, wherever that is moved, and tells of it under the name that it had.
                if !choice.is_below(&path) {
                    continue;
                }
                match std::fs::symlink_metadata(&path) {
                    Ok(metadata) if metadata.is_dir() && choice.enters(&path) => folders.push(path),
                    Ok(_) if choice.wants(&path) => found.extend(Found::at(path)),
                    _ => {}
                }
            }
            (found, folders)
        })
        .await?;
        self.look_at(found).await?;
        for folder in folders {
            self.walk(&folder, &mut HashSet::new()).await?;
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
            let found: Vec<Found> = due
                .into_iter()
                .filter_map(|path| {
                    let found = Found::at(path.clone()).filter(|_| choice.is_below(&path));
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
    async fn walk(&mut self, folder: &Path, devices: &mut HashSet<u64>) -> Result<u64, ScanError> {
        let (choice, watch) = (Arc::clone(&self.around.choice), self.around.watch.clone());
        let start = folder.to_owned();
        let mut walk = blocking(move || Walk::of(&start, choice, watch)).await?;
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
        let source = self.around.destination.source.clone();
        let (compared, met) = self
            .around
            .ledger
            .read(move |connection| {
                let mut met = 0;
                let mut compared = Vec::with_capacity(found.len());
                for found in &found {
                    let known = files::at_path(connection, &source, &found.path)?;
                    met += u64::from(known.is_some());
                    let verdict = compare(connection, &source, known, found)?;
                    compared.push((found.clone(), verdict));
                }
                Ok((compared, met))
            })
            .await?;
        let mut fresh = Vec::new();
        let mut perhaps_moved = Vec::new();
        for (found, compared) in compared {
            match compared {
                Compared::Known => self.settling.forget(&found.path),
                Compared::Fresh(_) if self.in_flight.contains_key(&found.path) => {}
                Compared::Fresh(twins) if twins.is_empty() => fresh.push(found),
                Compared::Back(known) => perhaps_moved.push((found, vec![known])),
                Compared::Fresh(twins) => perhaps_moved.push((found, twins)),
            }
        }
        fresh.extend(self.follow(perhaps_moved).await?);
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

fn compare(
    connection: &rusqlite::Connection,
    source: &str,
    known: Option<Known>,
    found: &Found,
) -> Result<Compared, LedgerError> {
    let identity = found.stamp.identity;
    match known {
        Some(known) if known.identity == identity && !known.was_missed() => return Ok(Compared::Known),
        Some(known) if (crate::job::FileIdentity { dev: identity.dev, ..known.identity }) == identity => {
            return Ok(Compared::Back(known));
        }
        _ => {}
    }
    let mut twins = files::with_identity(connection, source, &identity)?;
    twins.retain(|twin| twin.path != found.path);
    Ok(Compared::Fresh(twins))
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
