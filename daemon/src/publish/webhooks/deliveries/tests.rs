use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn start() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn id(job: u8) -> Uuid {
    Uuid::from_u128(u128::from(job))
}

/// A stream, its consumer, a bucket and a receiver around the deliveries.
struct Around {
    stream: Vec<(u64, u8)>,
    /// Sequences that the consumer has not had an acknowledgement of.
    unacknowledged: Vec<u64>,
    handed: usize,
    bucket: Vec<Line>,
    deliveries: Deliveries<()>,
    /// What the receiver took: job and sequence.
    taken: Vec<(u8, u64)>,
    now: Timestamp,
}

impl Around {
    fn new() -> Around {
        Around {
            stream: Vec::new(),
            unacknowledged: Vec::new(),
            handed: 0,
            bucket: Vec::new(),
            deliveries: Deliveries::new(Schedule::default(), Vec::new()),
            taken: Vec::new(),
            now: start(),
        }
    }

    fn event(&self, sequence: u64) -> Event<()> {
        let job = self.stream.iter().find(|(at, _)| *at == sequence).unwrap().1;
        Event { sequence, job: id(job), source: "calls".into(), bytes: 10, message: () }
    }

    fn feed(&mut self, most: usize) {
        for _ in 0..most.min(self.deliveries.room(10)) {
            let Some((sequence, _)) = self.stream.get(self.handed).copied() else { return };
            self.handed += 1;
            self.unacknowledged.push(sequence);
            self.deliveries.push(self.event(sequence));
        }
    }

    fn store(&mut self) {
        let Some(lines) = self.deliveries.to_store() else { return };
        self.bucket = lines;
        for event in self.deliveries.stored() {
            self.unacknowledged.retain(|sequence| *sequence != event.sequence);
        }
    }

    /// The daemon is killed before the acknowledgements of what it stored have left.
    fn store_and_crash(&mut self) {
        if let Some(lines) = self.deliveries.to_store() {
            self.bucket = lines;
        }
        self.crash();
    }

    /// The daemon is killed, and another one takes over.
    fn crash(&mut self) {
        self.deliveries = Deliveries::new(Schedule::default(), self.bucket.clone());
        let mut redelivered = std::mem::take(&mut self.unacknowledged);
        redelivered.sort_unstable();
        for sequence in redelivered {
            self.unacknowledged.push(sequence);
            self.deliveries.push(self.event(sequence));
        }
    }

    /// Makes one request; `answer`: of the receiver. False: there is nothing to do.
    fn request(&mut self, answer: RequestResult) -> bool {
        match self.deliveries.start(self.now) {
            None => false,
            Some(Work::Held(event)) => {
                let job = event.job.as_u128() as u8;
                if answer == RequestResult::Taken {
                    self.taken.push((job, event.sequence));
                }
                if let Some(taken) = self.deliveries.held_answered(event.job, &answer, self.now).taken {
                    self.unacknowledged.retain(|sequence| *sequence != taken.sequence);
                }
                true
            }
            Some(Work::Line(line)) => {
                let job = line.job.as_u128() as u8;
                let next =
                    self.stream.iter().find(|(at, of)| *of == job && *at >= line.first && *at <= line.last);
                let found = match next {
                    Some((sequence, _)) => {
                        if answer == RequestResult::Taken {
                            self.taken.push((job, *sequence));
                        }
                        Found::Event(*sequence, answer)
                    }
                    None => Found::Nothing { until: line.last },
                };
                self.deliveries.line_answered(line.job, found, self.now);
                true
            }
        }
    }

    /// Everything is taken from now on.
    fn finish(&mut self) {
        self.deliveries.retry(self.now);
        for _ in 0..10_000 {
            self.feed(usize::MAX);
            self.store();
            if !self.request(RequestResult::Taken) && self.handed == self.stream.len() {
                self.store();
                return;
            }
        }
        panic!("it does not end: {:?}", self.deliveries);
    }

    /// The first time that each event was taken, by job.
    fn firsts(&self) -> BTreeMap<u8, Vec<u64>> {
        let mut firsts: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for (job, sequence) in &self.taken {
            let of_job = firsts.entry(*job).or_default();
            if !of_job.contains(sequence) {
                of_job.push(*sequence);
            }
        }
        firsts
    }

    fn assert_kept(&self) {
        let mut wanted: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for (sequence, job) in &self.stream {
            wanted.entry(*job).or_default().push(*sequence);
        }
        assert_eq!(self.firsts(), wanted, "every event, in the order of its job");
        assert_eq!(self.unacknowledged, Vec::<u64>::new());
        assert!(
            self.deliveries.lines().is_empty() && self.deliveries.events == 0 && self.deliveries.bytes == 0,
            "{:?}",
            self.deliveries
        );
        assert_eq!(self.bucket, Vec::<Line>::new());
    }
}

#[test]
fn other_jobs_go_on_while_one_waits_and_its_later_events_wait_with_it() {
    let mut around = Around::new();
    around.stream = vec![(1, 1), (2, 1), (3, 2), (4, 1)];
    around.feed(9);
    assert!(around.request(RequestResult::Later("503".into())));
    assert!(around.request(RequestResult::Taken));
    assert!(!around.request(RequestResult::Taken), "the line is due in five seconds");
    assert_eq!(around.taken, [(2, 3)]);
    let line = &around.deliveries.lines()[0];
    assert_eq!((line.first, line.last, line.events, line.why.as_str()), (1, 4, 3, "503"));
    assert_eq!(around.unacknowledged, [1, 2, 4], "until the line is stored");
    around.store();
    assert_eq!(around.unacknowledged, Vec::<u64>::new());
    assert_eq!(around.deliveries.next_due(), Some(start() + Duration::from_secs(5)));
    around.now += Duration::from_secs(5);
    while around.request(RequestResult::Taken) {}
    around.store();
    around.assert_kept();
}

#[test]
fn what_is_set_aside_waits_for_an_operator_and_is_counted() {
    let mut around = Around::new();
    around.stream = vec![(1, 1), (2, 1)];
    around.feed(9);
    for _ in 0..3 {
        around.now += Duration::from_secs(60);
        assert!(around.request(RequestResult::Refused("404".into())));
    }
    around.now += Duration::from_secs(86_400);
    assert!(!around.request(RequestResult::Taken), "no try by itself");
    assert_eq!((around.deliveries.lines()[0].due, around.deliveries.waiting()), (None, 2));
    around.deliveries.resume(around.now);
    assert!(!around.request(RequestResult::Taken), "resuming is not retrying");
    assert_eq!(around.deliveries.retry(around.now), 2);
    around.finish();
    around.assert_kept();
}

#[test]
fn a_receiver_that_takes_nothing_pauses_the_webhook_before_the_memory_grows() {
    let mut around = Around::new();
    around.stream = (0..5_000).map(|at| (at + 1, 0)).collect();
    // Each event of a job of its own.
    let mut deliveries: Deliveries<()> =
        Deliveries::new(Schedule { refusals: 1, ..Schedule::default() }, Vec::new());
    let mut paused = None;
    for sequence in 1..=5_000_u64 {
        assert!(deliveries.room(10) > 0);
        let job = Uuid::from_u128(sequence.into());
        deliveries.push(Event { sequence, job, source: "calls".into(), bytes: 10, message: () });
        deliveries.start(start());
        let outcome = deliveries.held_answered(job, &RequestResult::Refused("404".into()), start());
        paused = outcome.pause;
        deliveries.stored();
        if paused.is_some() {
            break;
        }
    }
    assert_eq!(paused.unwrap(), "500 jobs are set aside, the last one for 404");
    assert_eq!(deliveries.events, 0);
}

#[test]
fn a_receiver_that_is_away_stops_the_feed_before_the_memory_grows() {
    let mut deliveries: Deliveries<()> = Deliveries::new(Schedule::default(), Vec::new());
    let mut sequence = 0;
    while deliveries.room(10) > 0 {
        sequence += 1;
        let job = Uuid::from_u128(sequence.into());
        deliveries.push(Event { sequence, job, source: "calls".into(), bytes: 10, message: () });
        deliveries.start(start());
        deliveries.held_answered(job, &RequestResult::Later("503".into()), start());
        deliveries.stored();
    }
    assert_eq!((deliveries.lines().len(), deliveries.events), (LINES, 0));
}

/// So many jobs wait for half a minute, as the receiver was away for two tries.
fn away(jobs: u8) -> Around {
    let mut around = Around::new();
    around.stream = (1..=jobs).map(|job| (u64::from(job), job)).collect();
    around.feed(usize::MAX);
    for _ in 0..2 {
        around.now += Duration::from_secs(5);
        while around.request(RequestResult::Later("503".into())) {}
    }
    around
}

#[test]
fn a_receiver_that_is_back_gets_at_once_what_waits_sixteen_jobs_at_a_time() {
    let mut around = away(100);
    around.stream.push((101, 101));
    around.feed(1);
    let due = |around: &Around| {
        around.deliveries.lines().iter().filter(|line| line.due <= Some(around.now)).count()
    };
    assert!(around.request(RequestResult::Taken), "a job that comes in");
    for left in (1..=100).rev() {
        assert_eq!(due(&around), left.min(16));
        assert!(around.request(RequestResult::Taken));
    }
    around.store();
    around.assert_kept();
}

#[test]
fn an_event_at_which_the_receiver_fails_alone_is_tried_early_once() {
    let mut around = away(1);
    let own = around.now + Duration::from_secs(30);
    around.stream.extend([(2, 2), (3, 2), (4, 2)]);
    around.feed(3);
    assert!(around.request(RequestResult::Taken), "another job");
    assert!(around.request(RequestResult::Later("500".into())), "the early try");
    assert!(around.request(RequestResult::Taken) && around.request(RequestResult::Taken));
    assert!(!around.request(RequestResult::Taken), "it waits for its own time");
    assert_eq!((around.deliveries.next_due(), around.deliveries.lines()[0].course.tries), (Some(own), 2));
    around.finish();
    around.assert_kept();
}

#[test]
fn a_window_has_so_many_events_and_bytes() {
    let mut deliveries: Deliveries<()> = Deliveries::new(Schedule::default(), Vec::new());
    assert_eq!(deliveries.room(1 << 20), BYTES >> 20);
    deliveries.push(Event { sequence: 1, job: id(1), source: String::new(), bytes: BYTES - 1, message: () });
    assert_eq!(deliveries.room(1 << 20), 1, "one more may be larger than what is left");
    deliveries.push(Event { sequence: 2, job: id(2), source: String::new(), bytes: 1, message: () });
    assert_eq!(deliveries.room(1 << 20), 0);
}

#[test]
fn what_the_stream_removed_from_a_line_is_counted() {
    let mut around = Around::new();
    around.stream = vec![(1, 1), (2, 1), (3, 1)];
    around.feed(9);
    around.request(RequestResult::Later("503".into()));
    let line = Found::Event(3, RequestResult::Taken);
    around.now += Duration::from_secs(5);
    assert!(matches!(around.deliveries.start(around.now), Some(Work::Line(_))));
    assert_eq!(around.deliveries.line_answered(id(1), line, around.now).removed, 2);
    assert!(around.deliveries.lines().is_empty());
}

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    Feed(usize),
    Request(u8),
    Store,
    Crash,
    StoreAndCrash,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..6_usize).prop_map(Step::Feed),
        6 => (0..8_u8).prop_map(Step::Request),
        2 => Just(Step::Store),
        1 => Just(Step::Crash),
        1 => Just(Step::StoreAndCrash),
        1 => (1..10_000_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn every_event_is_taken_in_the_order_of_its_job_whatever_is_answered_or_killed(
        jobs in prop::collection::vec(0..4_u8, 1..30), steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut around = Around::new();
        around.stream = jobs.iter().zip(1..).map(|(job, sequence)| (sequence, *job)).collect();
        for step in steps {
            match step {
                Step::Feed(most) => around.feed(most),
                Step::Request(0) => drop(around.request(RequestResult::Later("503".into()))),
                Step::Request(1) => drop(around.request(RequestResult::Refused("404".into()))),
                Step::Request(2) => drop(around.request(RequestResult::Gone)),
                Step::Request(3) => drop(around.request(RequestResult::Unsent("no object".into()))),
                Step::Request(_) => drop(around.request(RequestResult::Taken)),
                Step::Store => around.store(),
                Step::Crash => around.crash(),
                Step::StoreAndCrash => around.store_and_crash(),
                Step::Wait(seconds) => around.now += Duration::from_secs(seconds.into()),
            }
        }
        around.finish();
        around.assert_kept();
    }
}

#[test]
fn of_a_forgotten_job_nothing_is_sent_and_others_go_on() {
    let mut around = Around::new();
    around.stream = vec![(1, 1), (2, 2), (3, 1), (4, 2), (5, 3)];
    around.feed(4);
    assert!(around.request(RequestResult::Later("503".into())), "job 1 waits in a line");
    around.store();
    assert_eq!(around.deliveries.forget(id(1)), 2);
    assert_eq!(around.deliveries.forget(id(2)), 2, "in memory");
    around.store();
    assert_eq!((around.bucket.len(), around.unacknowledged.len()), (0, 0));
    around.feed(1);
    while around.request(RequestResult::Taken) {}
    assert_eq!(around.taken, [(3, 5)]);
    assert_eq!(around.deliveries.forget(id(1)), 0);
    assert_eq!(around.deliveries.waiting(), 0);
}
