//! The part of the outbox that is in memory: a bounded number of rows, the rows of each job in order. Pure.
//!
//! The events of one job leave one after the other, so a job with many of them would take all the room while the events of other jobs wait.
//! Of such a job some rows are in memory; the rest stays in the ledger, and is read when these have left.
//!
//! An event that cannot be stored now, while other events can, is set aside, and its job with it: of that job only its position stays in
//! memory, and its rows are skipped when the ledger is read. The event is tried again alone; once it has left, the rows behind it are
//! read. A job that is set aside costs some hundred bytes here, and in the ledger an event that is larger than a message: `state.max_size`
//! bounds the number of such jobs.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::job::ledger::outbox::Row;

/// Rows in memory at a time, and the bytes of their bodies. Beyond that, rows stay on disk: an unreachable broker costs no memory.
pub(super) const ROWS: usize = 2_048;
pub(super) const BYTES: usize = 16 << 20;

/// The same for one job.
const ROWS_OF_JOB: usize = 32;
pub(super) const BYTES_OF_JOB: usize = 1 << 20;

/// How many events that were set aside are tried at a time. They do not count towards `ROWS` and `BYTES`: they would take room from
/// the events of other jobs.
const TRIES: usize = 2;

/// How long after it was set aside an event is tried again.
const ASIDE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Window {
    chains: HashMap<Uuid, Chain>,
    startable: VecDeque<Uuid>,
    rows: usize,
    /// Bytes of the rows' bodies.
    bytes: usize,
    /// Id of the last row that was read. Of jobs set aside, rows before the cursor may be unread.
    cursor: i64,
    /// The jobs set aside, for an event that cannot be stored or for the number of their rows; the cursor skips their rows. Each with the
    /// sequence of its last row that was taken in.
    aside: HashMap<Uuid, u64>,
    /// Jobs set aside whose next event could not be stored, in the order in which they are tried again.
    stuck: VecDeque<(Instant, Uuid)>,
    /// Jobs set aside of which one event is being tried.
    tried: HashSet<Uuid>,
    /// Jobs set aside of which no row is in memory, and whose following rows are to be read.
    behind: VecDeque<Uuid>,
}

/// The events of one job that are in memory.
#[derive(Default)]
struct Chain {
    waiting: VecDeque<Row>,
    /// Stream sequence of the job's last acknowledged event.
    last: u64,
    busy: bool,
    /// Acknowledgements that are not in the ledger yet. Until they are, only this chain knows `last`.
    uncommitted: usize,
}

impl Chain {
    fn is_full(&self) -> bool {
        let bytes: usize = self.waiting.iter().map(|row| row.body.len()).sum();
        self.waiting.len() >= ROWS_OF_JOB || bytes >= BYTES_OF_JOB
    }
}

/// Rows of a job set aside, to be read from the ledger and passed to [`Window::found`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsToRead {
    pub(super) job: Uuid,
    /// Only rows with a higher sequence.
    pub(super) after: u64,
    /// Only rows with this id or a lower one.
    pub(super) until: i64,
    /// How many rows at most, lowest sequences first.
    pub(super) limit: usize,
}

impl Window {
    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.rows < ROWS / 2 && self.bytes < BYTES / 2
    }

    /// Id of the last row that was read.
    pub(super) fn cursor(&self) -> i64 {
        self.cursor
    }

    /// Takes in rows that were read from behind the cursor.
    pub(super) fn read(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.cursor = row.id;
            if self.aside.contains_key(&row.job) {
                continue;
            }
            if self.chains.get(&row.job).is_some_and(Chain::is_full) {
                self.aside.insert(row.job, row.sequence - 1);
                continue;
            }
            self.push(row);
        }
    }

    /// The next rows to be read of a job set aside: if there is room, the rows behind an event that has left; or, with `tries`, an event
    /// that is due to be tried again at `now`.
    pub(super) fn wanted(&mut self, tries: bool, now: Instant) -> Option<RowsToRead> {
        if self.has_room()
            && let Some(job) = self.behind.pop_front()
        {
            return self.rows_of(job, ROWS_OF_JOB);
        }
        self.next_try().filter(|at| tries && *at <= now)?;
        let (_, job) = self.stuck.pop_front()?;
        self.tried.insert(job);
        self.rows_of(job, 1)
    }

    /// When the next event that was set aside is to be tried again; `None` if there is none, or [`TRIES`] of them are being tried.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let (at, _) = self.stuck.front()?;
        (self.tried.len() < TRIES).then_some(*at)
    }

    fn rows_of(&self, job: Uuid, limit: usize) -> Option<RowsToRead> {
        let after = *self.aside.get(&job)?;
        Some(RowsToRead { job, after, until: self.cursor, limit })
    }

    /// Takes in rows that [`Window::wanted`] asked for. If there are none, the job has caught up with the cursor and is no longer set
    /// aside.
    pub(super) fn found(&mut self, job: Uuid, rows: Vec<Row>) {
        match rows.last() {
            Some(last) => self.aside.insert(job, last.sequence),
            None => {
                self.tried.remove(&job);
                self.aside.remove(&job)
            }
        };
        rows.into_iter().for_each(|row| self.push(row));
    }

    fn push(&mut self, row: Row) {
        let job = row.job;
        if !self.tried.contains(&job) {
            self.rows += 1;
            self.bytes += row.body.len();
        }
        let last = row.stream_seq;
        let chain = self.chains.entry(job).or_insert_with(|| Chain { last, ..Chain::default() });
        chain.waiting.push_back(row);
        if !chain.busy && chain.waiting.len() == 1 {
            self.startable.push_back(job);
        }
    }

    /// An event that may be published now, and the stream sequence of its predecessor.
    pub(super) fn start(&mut self) -> Option<(Row, u64)> {
        loop {
            let job = self.startable.pop_front()?;
            let Some(chain) = self.chains.get_mut(&job) else { continue };
            let Some(row) = chain.waiting.pop_front() else { continue };
            chain.busy = true;
            return Some((row, chain.last));
        }
    }

    /// The event is in the stream, at `stream_seq`; or, if that is `None`, need not be published any more.
    pub(super) fn left(&mut self, row: &Row, stream_seq: Option<u64>) {
        let job = row.job;
        if !self.tried.remove(&job) {
            self.rows -= 1;
            self.bytes -= row.body.len();
        }
        let Some(chain) = self.chains.get_mut(&job) else { return };
        chain.busy = false;
        if let Some(stream_seq) = stream_seq {
            chain.last = stream_seq;
            chain.uncommitted += 1;
        }
        if !chain.waiting.is_empty() {
            self.startable.push_back(job);
        } else if self.aside.contains_key(&job) {
            self.behind.push_back(job);
        }
        self.tidy(job);
    }

    /// The event cannot be stored now: the event and its job are set aside.
    pub(super) fn set_aside(&mut self, row: &Row, now: Instant) {
        let job = row.job;
        let is_counted = !self.tried.remove(&job);
        let Some(chain) = self.chains.get_mut(&job) else { return };
        chain.busy = false;
        let behind = std::mem::take(&mut chain.waiting);
        if is_counted {
            self.rows -= 1 + behind.len();
            self.bytes -= row.body.len() + behind.iter().map(|row| row.body.len()).sum::<usize>();
        }
        self.aside.insert(job, row.sequence - 1);
        self.stuck.push_back((now + ASIDE, job));
        self.tidy(job);
    }

    /// The acknowledgement of one of the job's events is in the ledger.
    pub(super) fn committed(&mut self, job: Uuid) {
        if let Some(chain) = self.chains.get_mut(&job) {
            chain.uncommitted -= 1;
        }
        self.tidy(job);
    }

    fn tidy(&mut self, job: Uuid) {
        let is_done = |chain: &Chain| !chain.busy && chain.waiting.is_empty() && chain.uncommitted == 0;
        if self.chains.get(&job).is_some_and(is_done) {
            self.chains.remove(&job);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// A window with a ledger to read from and a stream to publish to.
    #[derive(Default)]
    struct World {
        ledger: Vec<Row>,
        stream: Vec<(Uuid, i64)>,
        window: Window,
    }

    impl World {
        fn write(&mut self, job: Uuid, bytes: usize) {
            let id = self.ledger.last().map_or(1, |row| row.id + 1);
            let (source, kind, time) = ("calls".to_owned(), "job.accepted".to_owned(), String::new());
            let body = Bytes::from(vec![b' '; bytes]);
            let last = self.ledger.iter().rev().find(|row| row.job == job);
            let sequence = last.map_or(1, |row| row.sequence + 1);
            self.ledger.push(Row { id, job, source, kind, sequence, time, body, stream_seq: 0 });
        }

        /// Publishes as far as possible without waiting, reading `some` rows at a time; `fits`: whether an event can be stored now.
        fn go_on(&mut self, some: usize, now: Instant, fits: impl Fn(&Row) -> bool) {
            loop {
                let window = &mut self.window;
                if window.has_room() {
                    let cursor = window.cursor();
                    let rows = self.ledger.iter().filter(|row| row.id > cursor);
                    window.read(rows.take(some).cloned().collect());
                }
                while let Some(wanted) = window.wanted(true, now) {
                    let rows = self.ledger.iter().filter(|row| {
                        row.job == wanted.job && row.sequence > wanted.after && row.id <= wanted.until
                    });
                    window.found(wanted.job, rows.take(wanted.limit.min(some)).cloned().collect());
                }
                let Some((row, _)) = window.start() else { break };
                if fits(&row) {
                    self.stream.push((row.job, row.id));
                    window.left(&row, Some(1));
                    window.committed(row.job);
                } else {
                    window.set_aside(&row, now);
                }
            }
        }

        fn is_empty(&self) -> bool {
            let window = &self.window;
            (window.rows, window.bytes, window.chains.len(), window.tried.len()) == (0, 0, 0, 0)
        }
    }

    #[test]
    fn rows_behind_events_set_aside_take_no_room_from_other_jobs() {
        let (mut world, now) = (World::default(), Instant::now());
        for _ in 0..ROWS {
            let job = Uuid::now_v7();
            world.write(job, 3);
            world.write(job, 2);
            world.write(job, 2);
        }
        let last = Uuid::now_v7();
        world.write(last, 2);
        world.go_on(100, now, |row| row.body.len() < 3);
        assert_eq!(world.stream, [(last, 3 * ROWS as i64 + 1)]);
        assert!(world.is_empty());
        assert_eq!(world.window.aside.len(), ROWS);
        // The retry fails.
        world.go_on(100, now + ASIDE, |row| row.body.len() < 3);
        assert!(world.is_empty());
        assert_eq!(world.window.next_try(), Some(now + 2 * ASIDE));
        // The next retry succeeds.
        world.go_on(100, now + 2 * ASIDE, |_| true);
        assert_eq!(world.stream.len(), world.ledger.len());
        assert!(world.is_empty() && world.window.aside.is_empty());
    }

    #[test]
    fn jobs_with_many_events_do_not_keep_out_another_one() {
        let (mut world, now) = (World::default(), Instant::now());
        let many: Vec<Uuid> = std::iter::repeat_with(Uuid::now_v7).take(4).collect();
        for job in &many {
            (0..ROWS).for_each(|_| world.write(*job, 1));
        }
        let other = Uuid::now_v7();
        world.write(other, 1);
        world.go_on(ROWS, now, |_| true);
        let at = world.stream.iter().position(|(job, _)| *job == other).unwrap();
        // It waits for what is in memory of each, and not for all that they have.
        assert!(at <= many.len() * ROWS_OF_JOB, "{at}");
        assert_eq!(world.stream.len(), world.ledger.len());
        assert!(world.is_empty() && world.window.aside.is_empty());
    }

    proptest! {
        #[test]
        fn every_event_leaves_once_and_in_the_order_of_its_job(
            rows in prop::collection::vec((0..4_usize, 1..4_usize), 0..200), some in 1..50_usize, parts in 1..5_usize,
        ) {
            let jobs: [Uuid; 4] = std::array::from_fn(|_| Uuid::now_v7());
            let (mut world, mut now) = (World::default(), Instant::now());
            // In each part of the run, events of another size cannot be stored.
            for (part, rows) in rows.chunks(rows.len().div_ceil(parts).max(1)).enumerate() {
                for (job, bytes) in rows {
                    world.write(jobs[*job], *bytes);
                }
                world.go_on(some, now, |row| row.body.len() != 1 + part % 3);
                prop_assert!(world.is_empty());
                now += ASIDE;
            }
            world.go_on(some, now, |_| true);
            prop_assert!(world.is_empty() && world.window.aside.is_empty());
            for job in jobs {
                let written: Vec<i64> =
                    world.ledger.iter().filter(|row| row.job == job).map(|row| row.id).collect();
                let stored: Vec<i64> =
                    world.stream.iter().filter(|(of, _)| *of == job).map(|(_, id)| *id).collect();
                prop_assert_eq!(stored, written);
            }
        }
    }
}
