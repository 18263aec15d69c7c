//! The events of a webhook that are in memory, and the jobs whose first event was not taken. Pure.
//!
//! The events of one job are sent one after the other, those of different jobs at the same time. An event that is not taken turns its job
//! into a [`Backlog`]: the backlog is stored in the bucket, its events leave the memory and are acknowledged to JetStream, and are read from the
//! stream again when they are due. So a receiver that is away fills no memory, and other jobs go on.

mod early_retry;

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::Timestamp;
use uuid::Uuid;

use self::early_retry::EarlyRetry;
use super::record::Backlog;
use super::schedule::{Next, RequestResult, Schedule, Tries};
use crate::counted::counted;

/// The most events in memory, and the most of their bytes; a single event may be larger.
pub const EVENTS: usize = 256;
pub const BYTES: usize = 8 << 20;

/// The most jobs that wait or are set aside. At half of it set aside the webhook pauses: then the receiver as a whole is at fault.
pub const BACKLOGS: usize = 1_000;

/// An event from the consumer; `M` is its message.
#[derive(Debug, Clone)]
pub struct Event<M> {
    /// In the stream.
    pub sequence: u64,
    pub job: Uuid,
    pub source: String,
    pub bytes: usize,
    pub message: M,
}

/// A request to be made.
#[derive(Debug)]
pub enum Work<M> {
    /// For an event in memory.
    Held(Event<M>),
    /// For the first event of a backlog.
    Backlog(Backlog),
}

/// What an answer means to the caller.
#[derive(Debug)]
pub struct Effect<M> {
    /// The event that was taken: to be acknowledged now.
    pub taken: Option<Event<M>>,
    /// Why the webhook has to pause.
    pub pause: Option<String>,
    /// The event was set aside.
    pub set_aside: bool,
    /// How many events of the backlog the stream had removed before they were sent.
    pub removed: u64,
}

impl<M> Default for Effect<M> {
    fn default() -> Self {
        Effect { taken: None, pause: None, set_aside: false, removed: 0 }
    }
}

/// The outcome of reading the next event of a backlog from the stream, and of sending it.
#[derive(Debug)]
pub enum BacklogStep {
    /// The event at this stream sequence, with the answer to it.
    Event(u64, RequestResult),
    /// No event from the backlog's first sequence up to this one.
    Nothing { until: u64 },
    /// The stream did not answer.
    Unknown(String),
}

#[derive(Debug)]
pub struct Deliveries<M> {
    schedule: Schedule,
    chains: HashMap<Uuid, JobEvents<M>>,
    startable: VecDeque<Uuid>,
    backlogs: HashMap<Uuid, Backlog>,
    /// Jobs whose backlog is being worked on.
    busy: HashSet<Uuid>,
    /// Jobs whose backlog is tried before its time.
    early_retries: HashMap<Uuid, EarlyRetry>,
    /// Events that are in a backlog now: to be acknowledged when the backlogs are stored.
    moved: Vec<Event<M>>,
    events: usize,
    bytes: usize,
    /// Whether the backlogs differ from those that were stored last.
    changed: bool,
}

/// Events of one job, oldest first.
#[derive(Debug)]
struct JobEvents<M> {
    events: VecDeque<Event<M>>,
    busy: bool,
}

impl<M: Clone> Deliveries<M> {
    pub fn new(schedule: Schedule, backlogs: Vec<Backlog>) -> Self {
        Deliveries {
            schedule,
            chains: HashMap::new(),
            startable: VecDeque::new(),
            backlogs: backlogs.into_iter().map(|backlog| (backlog.job, backlog)).collect(),
            busy: HashSet::new(),
            early_retries: HashMap::new(),
            moved: Vec::new(),
            events: 0,
            bytes: 0,
            changed: false,
        }
    }

    /// How many events may be asked for; `largest`: of a message, bytes.
    pub fn room(&self, largest: usize) -> usize {
        if self.backlogs.len() + self.chains.len() >= BACKLOGS {
            return 0;
        }
        let jobs = BACKLOGS - self.backlogs.len() - self.chains.len();
        let bytes = BYTES.saturating_sub(self.bytes);
        let by_bytes = if bytes == 0 { 0 } else { (bytes / largest.max(1)).max(1) };
        EVENTS.saturating_sub(self.events).min(by_bytes).min(jobs)
    }

    /// Takes in an event. Those of one job have to come in the order of the stream.
    pub fn push(&mut self, event: Event<M>) {
        self.events += 1;
        self.bytes += event.bytes;
        let job = event.job;
        if let Some(backlog) = self.backlogs.get_mut(&job) {
            // A redelivered event may be in the backlog already: its acknowledgement was lost.
            if event.sequence > backlog.last {
                backlog.last = event.sequence;
                backlog.events += 1;
            }
            self.moved.push(event);
            self.changed = true;
            return;
        }
        let chain =
            self.chains.entry(job).or_insert_with(|| JobEvents { events: VecDeque::new(), busy: false });
        if chain.events.is_empty() && !chain.busy {
            self.startable.push_back(job);
        }
        chain.events.push_back(event);
    }

    /// A request that may be made now.
    pub fn start(&mut self, now: Timestamp) -> Option<Work<M>> {
        let is_due = |backlog: &&Backlog| {
            backlog.due.is_some_and(|due| due <= now) && !self.busy.contains(&backlog.job)
        };
        if let Some(backlog) = self.backlogs.values().filter(is_due).min_by_key(|backlog| backlog.due) {
            self.busy.insert(backlog.job);
            return Some(Work::Backlog(backlog.clone()));
        }
        let job = self.startable.pop_front()?;
        let chain = self.chains.get_mut(&job)?;
        chain.busy = true;
        chain.events.front().cloned().map(Work::Held)
    }

    /// When the next backlog is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.backlogs
            .values()
            .filter(|backlog| !self.busy.contains(&backlog.job))
            .filter_map(|backlog| backlog.due)
            .min()
    }

    /// Records the answer to the first event of a job in memory.
    pub fn held_answered(&mut self, job: Uuid, answer: &RequestResult, now: Timestamp) -> Effect<M> {
        let mut tries = Tries::default();
        let next = self.schedule.after(&mut tries, answer, now);
        let mut outcome = Effect::default();
        let Some(chain) = self.chains.get_mut(&job) else { return outcome };
        chain.busy = false;
        if next == Next::Taken {
            outcome.taken = chain.events.pop_front();
            if let Some(taken) = &outcome.taken {
                self.events -= 1;
                self.bytes -= taken.bytes;
            }
            match chain.events.is_empty() {
                true => drop(self.chains.remove(&job)),
                false => self.startable.push_back(job),
            }
            self.retry_early(now);
            return outcome;
        }
        let Some(JobEvents { events, .. }) = self.chains.remove(&job) else { return outcome };
        if let (Some(first), Some(last)) = (events.front(), events.back()) {
            let mut backlog = Backlog {
                job,
                source: first.source.clone(),
                first: first.sequence,
                last: last.sequence,
                events: events.len() as u64,
                tries,
                due: None,
                why: String::new(),
            };
            outcome = self.schedule_next(&mut backlog, next, answer, now);
            self.backlogs.insert(job, backlog);
        }
        self.moved.extend(events);
        outcome
    }

    /// Records what was found for a backlog, and the answer to it.
    pub fn line_answered(&mut self, job: Uuid, found: BacklogStep, now: Timestamp) -> Effect<M> {
        self.busy.remove(&job);
        let Some(mut backlog) = self.backlogs.remove(&job) else { return Effect::default() };
        self.changed = true;
        let was_taken = matches!(found, BacklogStep::Event(_, RequestResult::Taken));
        let mut outcome = Effect::default();
        match found {
            BacklogStep::Unknown(why) => {
                let answer = RequestResult::Unsent(why);
                let next = self.schedule.after(&mut backlog.tries, &answer, now);
                let next = self.after_early(&mut backlog, next, &answer);
                outcome = self.schedule_next(&mut backlog, next, &answer, now);
            }
            BacklogStep::Nothing { until } => {
                backlog.first = until + 1;
                backlog.due = Some(now);
                if backlog.last <= until {
                    // The limits of the stream have removed the events that the backlog counted.
                    outcome.removed = backlog.events;
                    self.early_retries.remove(&job);
                    return outcome;
                }
            }
            BacklogStep::Event(sequence, answer) => {
                backlog.first = sequence;
                let next = self.schedule.after(&mut backlog.tries, &answer, now);
                let next = self.after_early(&mut backlog, next, &answer);
                if next == Next::Taken {
                    backlog.first = sequence + 1;
                    backlog.events = backlog.events.saturating_sub(1);
                    backlog.tries = Tries::default();
                    backlog.due = Some(now);
                    backlog.why.clear();
                    if backlog.last <= sequence {
                        outcome.removed = backlog.events;
                        self.retry_early(now);
                        return outcome;
                    }
                } else {
                    outcome = self.schedule_next(&mut backlog, next, &answer, now);
                }
            }
        }
        self.backlogs.insert(job, backlog);
        if was_taken {
            self.retry_early(now);
        }
        outcome
    }

    /// Puts what follows a failed try into the backlog.
    fn schedule_next(
        &mut self,
        backlog: &mut Backlog,
        next: Next,
        answer: &RequestResult,
        now: Timestamp,
    ) -> Effect<M> {
        self.changed = true;
        backlog.why = why(answer);
        let mut outcome = Effect::default();
        match next {
            Next::Again(due) => backlog.due = Some(due),
            Next::Aside => {
                backlog.due = None;
                outcome.set_aside = true;
                let aside = 1 + self.backlogs.values().filter(|backlog| backlog.due.is_none()).count();
                if aside >= BACKLOGS / 2 {
                    outcome.pause = Some(format!(
                        "{} are set aside, the last one for {}",
                        counted(aside, "job"),
                        backlog.why
                    ));
                }
            }
            Next::Pause | Next::Taken => {
                backlog.due = Some(now);
                let since = backlog.tries.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
                outcome.pause = Some(format!("{}{since}", backlog.why));
            }
        }
        outcome
    }

    /// Makes every event that waits or is set aside due, as if it had not been tried; returns how many were set aside.
    pub fn retry(&mut self, now: Timestamp) -> u64 {
        self.changed = true;
        self.early_retries.clear();
        let aside = self
            .backlogs
            .values()
            .filter(|backlog| backlog.due.is_none())
            .map(|backlog| backlog.events)
            .sum();
        self.backlogs.values_mut().for_each(|backlog| backlog.begin_anew(now));
        aside
    }

    /// Drops what waits or is set aside of a job; returns how many events. A request that is under way goes on.
    pub fn forget(&mut self, job: Uuid) -> u64 {
        let in_line = self.backlogs.remove(&job).map_or(0, |backlog| backlog.events);
        self.early_retries.remove(&job);
        let held = self.chains.remove(&job).map(|chain| chain.events).unwrap_or_default();
        self.startable.retain(|startable| *startable != job);
        self.changed |= in_line > 0 || !held.is_empty();
        let events = in_line + held.len() as u64;
        // Acknowledged when the backlogs are stored.
        self.moved.extend(held);
        events
    }

    /// Makes every event that waits due, as if it had not been tried.
    pub fn resume(&mut self, now: Timestamp) {
        self.changed = true;
        self.early_retries.clear();
        self.backlogs
            .values_mut()
            .filter(|backlog| backlog.due.is_some())
            .for_each(|backlog| backlog.begin_anew(now));
    }

    /// The backlogs, if they have to be stored.
    pub fn to_store(&self) -> Option<Vec<Backlog>> {
        self.changed.then(|| self.backlogs())
    }

    /// All backlogs, in the order of their first events.
    pub fn backlogs(&self) -> Vec<Backlog> {
        let mut backlogs: Vec<Backlog> = self.backlogs.values().cloned().collect();
        backlogs.sort_by_key(|backlog| backlog.first);
        backlogs
    }

    /// To be called once the backlogs that [`Deliveries::backlogs`] returned last are in the bucket. Returns the events that may be acknowledged now.
    pub fn stored(&mut self) -> Vec<Event<M>> {
        self.changed = false;
        let moved = std::mem::take(&mut self.moved);
        self.events -= moved.len();
        self.bytes -= moved.iter().map(|event| event.bytes).sum::<usize>();
        moved
    }

    /// The messages in memory.
    pub fn held(&self) -> impl Iterator<Item = &Event<M>> {
        self.chains.values().flat_map(|chain| &chain.events).chain(&self.moved)
    }

    /// A newer delivery of an event that is in memory already; false: it is not.
    pub fn renew(&mut self, sequence: u64, job: Uuid, message: &M) -> bool {
        let chain = self.chains.get_mut(&job).into_iter().flat_map(|chain| &mut chain.events);
        match chain.chain(&mut self.moved).find(|event| event.sequence == sequence) {
            Some(event) => {
                event.message = message.clone();
                true
            }
            None => false,
        }
    }

    /// How many events are in memory and in backlogs.
    pub fn waiting(&self) -> u64 {
        let in_lines: u64 = self.backlogs.values().map(|backlog| backlog.events).sum();
        in_lines + (self.events - self.moved.len()) as u64
    }
}

/// An answer in the operator's words.
pub fn why(answer: &RequestResult) -> String {
    match answer {
        RequestResult::Taken => "taken".into(),
        RequestResult::Later(why) | RequestResult::Refused(why) | RequestResult::Unsent(why) => why.clone(),
        RequestResult::Gone => "410 Gone".into(),
    }
}

#[cfg(test)]
mod tests;
