//! Decides when a file has stood still for long enough. The caller passes the result of `lstat` and the time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::found::{Found, Stamp};
use crate::os;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Never steps.
    pub monotonic: Instant,
    /// Nanoseconds since the epoch, comparable with a ctime.
    pub wall_ns: i64,
}

/// The present time. The wall clock used here does not follow forward steps: otherwise a file that was written just before a step would
/// seem to have stood still for long.
pub(super) fn now() -> Now {
    let wall_ns = os::cautious_now().as_nanosecond();
    Now { monotonic: Instant::now(), wall_ns: i64::try_from(wall_ns).unwrap_or(i64::MAX) }
}

/// A file that has stood still.
#[derive(Debug, Clone)]
pub(super) struct SettledFile {
    pub file: Found,
    /// The look in which it was first seen; 0 if that is not known.
    pub seen: u64,
    /// It has stood still for the longer time that an incomplete file has to wait.
    pub long: bool,
}

/// Files that have not stood still yet, at most `limit`; a scan, which [`Settling::crowded`] asks for, finds the others again.
#[derive(Debug)]
pub(super) struct Settling {
    settle: Duration,
    trusts_ctime: bool,
    limit: usize,
    files: HashMap<PathBuf, ChangingFile>,
    crowded: Option<Instant>,
    /// Some waiting files may have been seen before they fitted into the table.
    was_crowded: bool,
}

#[derive(Debug, Clone, Copy)]
struct ChangingFile {
    stamp: Stamp,
    since: Instant,
    seen: u64,
    /// How long it has to stand still.
    settle: Duration,
    due: Instant,
}

/// A file that is open for writing, or unreadable, is looked at no more often than this, however short `settle` is.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// A file that is not all there has to stand still for this many times `settle`: a minute, by default.
const LONG: u32 = 30;

impl Settling {
    /// Nothing waits.
    pub fn new(settle: Duration, limit: usize) -> Self {
        Settling {
            settle,
            trusts_ctime: false,
            limit,
            files: HashMap::new(),
            crowded: None,
            was_crowded: false,
        }
    }

    /// Sets whether this machine's clock sets the files' ctime. If so, a file that had stood still before it was first seen need not be
    /// watched. Not so on network filesystems, where the ctime may come from another machine's clock.
    pub fn trust_ctime(&mut self, trusts: bool) {
        self.trusts_ctime = trusts;
    }

    /// Judges a file by its stamp of this moment, in the look of this number. `None`: it has not stood still; [`Settling::take_due`] returns
    /// it later.
    pub fn look(&mut self, file: Found, now: Now, look: u64) -> Option<SettledFile> {
        let (since, seen, settle) = match self.files.get(&file.path) {
            Some(waiting) if waiting.stamp == file.stamp => (waiting.since, waiting.seen, waiting.settle),
            Some(waiting) => (now.monotonic, waiting.seen, self.settle),
            None => (now.monotonic, if self.was_crowded { 0 } else { look }, self.settle),
        };
        let watched = now.monotonic.saturating_duration_since(since);
        let still_for = watched.max(self.age(&file.stamp, now));
        if still_for >= settle {
            self.files.remove(&file.path);
            return Some(SettledFile { file, seen, long: still_for >= self.settle * LONG });
        }
        let due = now.monotonic + (settle - still_for);
        self.wait(&file.path, ChangingFile { stamp: file.stamp, since, seen, settle, due });
        None
    }

    /// Has a file looked at again after a pause although it stands still: a process has it open for writing, or it cannot be read.
    pub fn postpone(&mut self, file: &Found, seen: u64, now: Now) {
        self.stand_still_again(file, seen, now, self.settle);
    }

    /// Lets a file stand still for longer: it is not all there.
    pub fn wait_longer(&mut self, file: &Found, seen: u64, now: Now) {
        self.stand_still_again(file, seen, now, self.settle * LONG);
    }

    fn stand_still_again(&mut self, file: &Found, seen: u64, now: Now, settle: Duration) {
        let due = now.monotonic + settle.max(LEAST_PAUSE);
        self.wait(&file.path, ChangingFile { stamp: file.stamp, since: now.monotonic, seen, settle, due });
    }

    /// Removes a file that is absent, or does not wait any more.
    pub fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Files that are due to be looked at now. The caller looks at each of them, or forgets it.
    pub fn take_due(&self, now: Now) -> Vec<PathBuf> {
        let due = self.files.iter().filter(|(_, waiting)| waiting.due <= now.monotonic);
        due.map(|(path, _)| path.clone()).collect()
    }

    /// When [`Settling::take_due`] returns the next file.
    pub fn next_due(&self) -> Option<Instant> {
        self.files.values().map(|waiting| waiting.due).min()
    }

    /// When a scan has to find the files that did not fit; that scan calls [`Settling::scanned`].
    pub fn crowded(&self) -> Option<Instant> {
        self.crowded
    }

    /// Notes that a full scan begins, which meets all files that did not fit.
    pub fn scanned(&mut self) {
        self.crowded = None;
        self.was_crowded &= !self.files.is_empty();
    }

    /// Whether a file of this size is waiting, or may be among the files that did not fit; it may be a copy of a file that is absent since.
    pub fn has_size(&self, size: u64) -> bool {
        self.crowded.is_some() || self.files.values().any(|waiting| waiting.stamp.identity.size == size)
    }

    /// How many files wait.
    pub fn waiting(&self) -> usize {
        self.files.len()
    }

    /// How long a file has stood still by its ctime, which every write, rename and link sets. Zero for a ctime in the future, after the
    /// clock was set back.
    fn age(&self, stamp: &Stamp, now: Now) -> Duration {
        if !self.trusts_ctime {
            return Duration::ZERO;
        }
        Duration::from_nanos(u64::try_from(now.wall_ns.saturating_sub(stamp.ctime_ns)).unwrap_or(0))
    }

    fn wait(&mut self, path: &Path, waiting: ChangingFile) {
        if self.files.len() < self.limit || self.files.contains_key(path) {
            self.files.insert(path.to_owned(), waiting);
        } else {
            self.was_crowded = true;
            self.crowded = Some(self.crowded.map_or(waiting.due, |due| due.min(waiting.due)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::FileIdentity;

    const SETTLE: Duration = Duration::from_secs(2);

    /// `seen` and `long` of a file that has stood still.
    const STILL: Option<(u64, bool)> = Some((1, false));

    fn file(path: &str, size: u64, ctime_ms: i64) -> Found {
        let identity = FileIdentity { dev: 1, inode: 7, size, mtime_ns: 0 };
        Found { path: path.into(), stamp: Stamp { identity, ctime_ns: ctime_ms * 1_000_000 } }
    }

    fn look(settling: &mut Settling, file: &Found, now: Now, look: u64) -> Option<(u64, bool)> {
        settling.look(file.clone(), now, look).map(|ready| (ready.seen, ready.long))
    }

    /// A time on one clock that serves as both.
    fn at(start: Instant, ms: u64) -> Now {
        let wall_ns = i64::try_from(ms).unwrap() * 1_000_000;
        Now { monotonic: start + Duration::from_millis(ms), wall_ns }
    }

    fn settling(trusts_ctime: bool, limit: usize) -> Settling {
        let mut settling = Settling::new(SETTLE, limit);
        settling.trust_ctime(trusts_ctime);
        settling
    }

    #[test]
    fn a_file_that_was_left_alone_before_it_was_seen_is_still_at_once() {
        let start = Instant::now();
        let mut settling = settling(true, 10);
        assert_eq!(look(&mut settling, &file("a", 1, 0), at(start, 2_000), 1), STILL);
        assert_eq!(look(&mut settling, &file("a", 1, 0), at(start, 1_999), 1), None);
        assert_eq!(settling.next_due(), Some(start + SETTLE));
    }

    #[test]
    fn another_machines_clock_is_not_believed() {
        let start = Instant::now();
        let mut settling = settling(false, 10);
        assert_eq!(look(&mut settling, &file("a", 1, -99_999), at(start, 0), 1), None);
        assert_eq!(look(&mut settling, &file("a", 1, -99_999), at(start, 2_000), 1), STILL);
    }

    #[test]
    fn a_file_from_the_future_is_watched_instead() {
        let start = Instant::now();
        let mut settling = settling(true, 10);
        assert_eq!(look(&mut settling, &file("a", 1, 999_999), at(start, 0), 1), None);
        assert_eq!(look(&mut settling, &file("a", 1, 999_999), at(start, 2_000), 1), STILL);
    }

    #[test]
    fn what_does_not_fit_asks_for_a_scan() {
        let start = Instant::now();
        let mut settling = settling(true, 1);
        look(&mut settling, &file("a", 1, 0), at(start, 0), 1);
        assert_eq!(settling.crowded(), None);
        look(&mut settling, &file("b", 1, 0), at(start, 500), 1);
        assert_eq!(settling.crowded(), Some(start + SETTLE));
        assert_eq!(settling.waiting(), 1);
    }

    #[test]
    fn a_file_that_is_not_all_there_stands_still_for_longer_unless_it_grows() {
        let start = Instant::now();
        for trusts_ctime in [false, true] {
            let mut settling = settling(trusts_ctime, 10);
            let (short, longer) = (file("a", 1, 0), file("a", 2, 10_000));
            look(&mut settling, &short, at(start, 0), 1);
            assert_eq!(look(&mut settling, &short, at(start, 2_000), 1), STILL);
            settling.wait_longer(&short, 1, at(start, 2_000));
            assert_eq!(look(&mut settling, &short, at(start, 50_000), 2), None);
            assert_eq!(look(&mut settling, &short, at(start, 62_000), 2), Some((1, true)));
            settling.wait_longer(&short, 1, at(start, 2_000));
            assert_eq!(look(&mut settling, &longer, at(start, 10_000), 2), None);
            assert_eq!(look(&mut settling, &longer, at(start, 12_000), 2), STILL);
        }
    }

    #[test]
    fn the_look_in_which_a_file_was_first_seen_stays_with_it() {
        let start = Instant::now();
        let mut settling = settling(false, 1);
        look(&mut settling, &file("a", 1, 0), at(start, 0), 7);
        look(&mut settling, &file("a", 2, 0), at(start, 1_000), 8);
        settling.postpone(&file("a", 2, 0), 7, at(start, 1_500));
        // It does not fit beside the other; when it does, it may have been seen long before.
        look(&mut settling, &file("b", 1, 0), at(start, 1_500), 8);
        assert_eq!(look(&mut settling, &file("a", 2, 0), at(start, 3_500), 9), Some((7, false)));
        look(&mut settling, &file("b", 1, 0), at(start, 3_500), 9);
        assert_eq!(look(&mut settling, &file("b", 1, 0), at(start, 5_500), 10), Some((0, false)));
    }

    proptest! {
        /// Writes and looks at any times: a verdict of "still" is never within `settle` of a write that came before it, and once
        /// the writer has stopped, the due look finds the file still.
        #[test]
        fn a_file_is_never_taken_within_settle_of_a_write(
            mut writes in prop::collection::vec(0u64..20_000, 1..12),
            mut looks in prop::collection::vec(0u64..30_000, 0..60),
            trusts_ctime: bool,
        ) {
            writes.sort_unstable();
            looks.sort_unstable();
            let start = Instant::now();
            let mut settling = settling(trusts_ctime, 10);
            let written = |number: usize, ms: u64| file("a", number as u64, i64::try_from(ms).unwrap());
            for now in looks {
                let past: Vec<u64> = writes.iter().copied().filter(|write| *write <= now).collect();
                let Some(last) = past.last() else { continue };
                if look(&mut settling, &written(past.len(), *last), at(start, now), 1).is_some() {
                    prop_assert!(now - last >= 2_000, "written at {last}, taken at {now}");
                }
            }
            let last = *writes.last().unwrap();
            let stands = written(writes.len(), last);
            if look(&mut settling, &stands, at(start, last.max(30_000)), 1).is_none() {
                let due = settling.next_due().unwrap();
                let at_due = at(start, u64::try_from((due - start).as_millis()).unwrap());
                prop_assert!(look(&mut settling, &stands, at_due, 1).is_some());
            }
        }
    }
}
