//! Decides when a file has stood still for long enough. No input or output: the caller passes the result of `lstat` and the time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::job::FileIdentity;

/// What must stay the same while a file stands still: any write changes at least one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Device, inode, size and mtime.
    pub identity: FileIdentity,
    /// Nanoseconds since the epoch. Unlike mtime, programs cannot set it.
    pub ctime_ns: i64,
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Never steps.
    pub monotonic: Instant,
    /// Nanoseconds since the epoch, comparable with a ctime.
    pub wall_ns: i64,
}

/// What is to be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stillness {
    /// It has stood still. `seen`: the look in which it was first seen, 0 where that is not known. `long`: for as long as a file waits that is
    /// not all there.
    Still { seen: u64, long: bool },
    /// It is looked at again by itself ([`Settling::take_due`]).
    Moving,
}

/// Files that have not stood still yet, at most `limit`; a scan, which [`Settling::crowded`] asks for, finds the others again.
#[derive(Debug)]
pub struct Settling {
    settle: Duration,
    trusts_ctime: bool,
    limit: usize,
    files: HashMap<PathBuf, Waiting>,
    crowded: Option<Instant>,
    /// Some waiting files may have been seen before they fitted into the table.
    was_crowded: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    seen: u64,
    /// How long it has to stand still.
    settle: Duration,
    stamp: Stamp,
    since: Instant,
    due: Instant,
}

/// A file that is open for writing, or unreadable, is looked at no more often than this, however short `settle` is.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// A file that is not all there has to stand still for so many times `settle`: a minute, by default.
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

    /// Judges a file by its stamp of this moment, in the look of this number.
    pub fn look(&mut self, path: &Path, stamp: Stamp, now: Now, look: u64) -> Stillness {
        let (since, seen, settle) = match self.files.get(path) {
            Some(waiting) if waiting.stamp == stamp => (waiting.since, waiting.seen, waiting.settle),
            Some(waiting) => (now.monotonic, waiting.seen, self.settle),
            None => (now.monotonic, if self.was_crowded { 0 } else { look }, self.settle),
        };
        let watched = now.monotonic.saturating_duration_since(since);
        let still_for = watched.max(self.age(&stamp, now));
        if still_for >= settle {
            self.files.remove(path);
            return Stillness::Still { seen, long: still_for >= self.settle * LONG };
        }
        self.wait(path, Waiting { seen, settle, stamp, since, due: now.monotonic + (settle - still_for) });
        Stillness::Moving
    }

    /// Has a file looked at again after a pause although it stands still: a process has it open for writing, or it cannot be read.
    pub fn postpone(&mut self, path: &Path, stamp: Stamp, now: Now, seen: u64) {
        let due = now.monotonic + self.settle.max(LEAST_PAUSE);
        self.wait(path, Waiting { seen, settle: self.settle, stamp, since: now.monotonic, due });
    }

    /// Lets a file stand still for longer: it is not all there.
    pub fn wait_longer(&mut self, path: &Path, stamp: Stamp, now: Now, seen: u64) {
        let settle = self.settle * LONG;
        let due = now.monotonic + settle.max(LEAST_PAUSE);
        self.wait(path, Waiting { seen, settle, stamp, since: now.monotonic, due });
    }

    /// How long a file must stand still.
    pub fn settle(&self) -> Duration {
        self.settle
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

    fn wait(&mut self, path: &Path, waiting: Waiting) {
        if let Some(place) = self.files.get_mut(path) {
            *place = waiting;
        } else if self.files.len() < self.limit {
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

    const SETTLE: Duration = Duration::from_secs(2);
    const STILL: Stillness = Stillness::Still { seen: 1, long: false };

    fn stamp(size: u64, ctime_ms: i64) -> Stamp {
        let identity = FileIdentity { dev: 1, inode: 7, size, mtime_ns: 0 };
        Stamp { identity, ctime_ns: ctime_ms * 1_000_000 }
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
        assert_eq!(settling.look(Path::new("a"), stamp(1, 0), at(start, 2_000), 1), STILL);
        assert_eq!(settling.look(Path::new("a"), stamp(1, 0), at(start, 1_999), 1), Stillness::Moving);
        assert_eq!(settling.next_due(), Some(start + SETTLE));
    }

    #[test]
    fn another_machines_clock_is_not_believed() {
        let start = Instant::now();
        let mut settling = settling(false, 10);
        assert_eq!(settling.look(Path::new("a"), stamp(1, -99_999), at(start, 0), 1), Stillness::Moving);
        assert_eq!(settling.look(Path::new("a"), stamp(1, -99_999), at(start, 2_000), 1), STILL);
    }

    #[test]
    fn a_file_from_the_future_is_watched_instead() {
        let start = Instant::now();
        let mut settling = settling(true, 10);
        assert_eq!(settling.look(Path::new("a"), stamp(1, 999_999), at(start, 0), 1), Stillness::Moving);
        assert_eq!(settling.look(Path::new("a"), stamp(1, 999_999), at(start, 2_000), 1), STILL);
    }

    #[test]
    fn what_does_not_fit_asks_for_a_scan() {
        let start = Instant::now();
        let mut settling = settling(true, 1);
        settling.look(Path::new("a"), stamp(1, 0), at(start, 0), 1);
        assert_eq!(settling.crowded(), None);
        settling.look(Path::new("b"), stamp(1, 0), at(start, 500), 1);
        assert_eq!(settling.crowded(), Some(start + SETTLE));
        assert_eq!(settling.waiting(), 1);
    }

    #[test]
    fn a_file_that_is_not_all_there_stands_still_for_longer_unless_it_grows() {
        let start = Instant::now();
        for trusts_ctime in [false, true] {
            let mut settling = settling(trusts_ctime, 10);
            let (a, short) = (Path::new("a"), stamp(1, 0));
            settling.look(a, short, at(start, 0), 1);
            assert_eq!(settling.look(a, short, at(start, 2_000), 1), STILL);
            settling.wait_longer(a, short, at(start, 2_000), 1);
            assert_eq!(settling.look(a, short, at(start, 50_000), 2), Stillness::Moving);
            assert_eq!(
                settling.look(a, short, at(start, 62_000), 2),
                Stillness::Still { seen: 1, long: true }
            );
            settling.wait_longer(a, short, at(start, 2_000), 1);
            assert_eq!(settling.look(a, stamp(2, 10_000), at(start, 10_000), 2), Stillness::Moving);
            assert_eq!(settling.look(a, stamp(2, 10_000), at(start, 12_000), 2), STILL);
        }
    }

    #[test]
    fn the_look_in_which_a_file_was_first_seen_stays_with_it() {
        let start = Instant::now();
        let mut settling = settling(false, 1);
        settling.look(Path::new("a"), stamp(1, 0), at(start, 0), 7);
        settling.look(Path::new("a"), stamp(2, 0), at(start, 1_000), 8);
        settling.postpone(Path::new("a"), stamp(2, 0), at(start, 1_500), 7);
        // It does not fit beside the other; when it does, it may have been seen long before.
        settling.look(Path::new("b"), stamp(1, 0), at(start, 1_500), 8);
        let still = Stillness::Still { seen: 7, long: false };
        assert_eq!(settling.look(Path::new("a"), stamp(2, 0), at(start, 3_500), 9), still);
        settling.look(Path::new("b"), stamp(1, 0), at(start, 3_500), 9);
        let still = Stillness::Still { seen: 0, long: false };
        assert_eq!(settling.look(Path::new("b"), stamp(1, 0), at(start, 5_500), 10), still);
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
            for look in looks {
                let written: Vec<u64> = writes.iter().copied().filter(|write| *write <= look).collect();
                let Some(last) = written.last() else { continue };
                let now = stamp(written.len() as u64, i64::try_from(*last).unwrap());
                if settling.look(Path::new("a"), now, at(start, look), 1) != Stillness::Moving {
                    prop_assert!(look - last >= 2_000, "written at {last}, taken at {look}");
                }
            }
            let last = *writes.last().unwrap();
            let stands = stamp(writes.len() as u64, i64::try_from(last).unwrap());
            let first = last.max(30_000);
            if settling.look(Path::new("a"), stands, at(start, first), 1) == Stillness::Moving {
                let due = settling.next_due().unwrap();
                let at_due = at(start, u64::try_from((due - start).as_millis()).unwrap());
                prop_assert_ne!(settling.look(Path::new("a"), stands, at_due, 1), Stillness::Moving);
            }
        }
    }
}
