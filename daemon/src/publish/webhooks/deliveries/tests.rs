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
struct World {
    stream: Vec<(u64, u8)>,
    /// Sequences that the consumer has not had an acknowledgement of.
    unacknowledged: Vec<u64>,
    handed: usize,
    bucket: Vec<Backlog>,
    deliveries: Deliveries<()>,
    /// What the receiver took: job and sequence.
    taken: Vec<(u8, u64)>,
    now: Timestamp,
}

impl World {
    fn new() -> World {
        World {
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
        let Some(backlogs) = self.deliveries.to_store() else { return };
        self.bucket = backlogs;
        for event in self.deliveries.stored() {
            self.unacknowledged.retain(|sequence| *sequence != event.sequence);
        }
    }

    /// The daemon is killed before the acknowledgements of what it stored have left.
    fn store_and_crash(&mut self) {
        if let Some(backlogs) = self.deliveries.to_store() {
            self.bucket = backlogs;
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
            Some(Work::Backlog(backlog)) => {
                let job = backlog.job.as_u128() as u8;
                let next = self
                    .stream
                    .iter()
                    .find(|(at, of)| *of == job && *at >= backlog.first && *at <= backlog.last);
                let found = match next {
                    Some((sequence, _)) => {
                        if answer == RequestResult::Taken {
                            self.taken.push((job, *sequence));
                        }
                        BacklogStep::Event(*sequence, answer)
                    }
                    None => BacklogStep::Nothing { until: backlog.last },
                };
                self.deliveries.line_answered(backlog.job, found, self.now);
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
            self.deliveries.backlogs().is_empty()
                && self.deliveries.events == 0
                && self.deliveries.bytes == 0,
            "{:?}",
            self.deliveries
        );
        assert_eq!(self.bucket, Vec::<Backlog>::new());
    }
}

#[test]
fn other_jobs_go_on_while_one_waits_and_its_later_events_wait_with_it() {
    let mut world = World::new();
    world.stream = vec![(1, 1), (2, 1), (3, 2), (4, 1)];
    world.feed(9);
    assert!(world.request(RequestResult::Later("503".into())));
    assert!(world.request(RequestResult::Taken));
    assert!(!world.request(RequestResult::Taken), "the backlog is due in five seconds");
    assert_eq!(world.taken, [(2, 3)]);
    let backlog = &world.deliveries.backlogs()[0];
    assert_eq!((backlog.first, backlog.last, backlog.events, backlog.why.as_str()), (1, 4, 3, "503"));
    assert_eq!(world.unacknowledged, [1, 2, 4], "until the backlog is stored");
    world.store();
    assert_eq!(world.unacknowledged, Vec::<u64>::new());
    assert_eq!(world.deliveries.next_due(), Some(start() + Duration::from_secs(5)));
    world.now += Duration::from_secs(5);
    while world.request(RequestResult::Taken) {}
    world.store();
    world.assert_kept();
}

#[test]
fn what_is_set_aside_waits_for_an_operator_and_is_counted() {
    let mut world = World::new();
    world.stream = vec![(1, 1), (2, 1)];
    world.feed(9);
    for _ in 0..3 {
        world.now += Duration::from_secs(60);
        assert!(world.request(RequestResult::Refused("404".into())));
    }
    world.now += Duration::from_secs(86_400);
    assert!(!world.request(RequestResult::Taken), "no try by itself");
    assert_eq!((world.deliveries.backlogs()[0].due, world.deliveries.waiting()), (None, 2));
    world.deliveries.resume(world.now);
    assert!(!world.request(RequestResult::Taken), "resuming is not retrying");
    assert_eq!(world.deliveries.retry(world.now), 2);
    world.finish();
    world.assert_kept();
}

#[test]
fn a_receiver_that_takes_nothing_pauses_the_webhook_before_the_memory_grows() {
    let mut world = World::new();
    world.stream = (0..5_000).map(|at| (at + 1, 0)).collect();
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
    assert_eq!((deliveries.backlogs().len(), deliveries.events), (BACKLOGS, 0));
}

/// So many jobs wait for half a minute, as the receiver was away for two tries.
fn away(jobs: u8) -> World {
    let mut world = World::new();
    world.stream = (1..=jobs).map(|job| (u64::from(job), job)).collect();
    world.feed(usize::MAX);
    for _ in 0..2 {
        world.now += Duration::from_secs(5);
        while world.request(RequestResult::Later("503".into())) {}
    }
    world
}

#[test]
fn a_receiver_that_is_back_gets_at_once_what_waits_sixteen_jobs_at_a_time() {
    let mut world = away(100);
    world.stream.push((101, 101));
    world.feed(1);
    let due = |world: &World| {
        world.deliveries.backlogs().iter().filter(|backlog| backlog.due <= Some(world.now)).count()
    };
    assert!(world.request(RequestResult::Taken), "a job that comes in");
    for left in (1..=100).rev() {
        assert_eq!(due(&world), left.min(16));
        assert!(world.request(RequestResult::Taken));
    }
    world.store();
    world.assert_kept();
}

#[test]
fn an_event_at_which_the_receiver_fails_alone_is_tried_early_once() {
    let mut world = away(1);
    let own = world.now + Duration::from_secs(30);
    world.stream.extend([(2, 2), (3, 2), (4, 2)]);
    world.feed(3);
    assert!(world.request(RequestResult::Taken), "another job");
    assert!(world.request(RequestResult::Later("500".into())), "the early try");
    assert!(world.request(RequestResult::Taken) && world.request(RequestResult::Taken));
    assert!(!world.request(RequestResult::Taken), "it waits for its own time");
    assert_eq!((world.deliveries.next_due(), world.deliveries.backlogs()[0].tries.count), (Some(own), 2));
    world.finish();
    world.assert_kept();
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
    let mut world = World::new();
    world.stream = vec![(1, 1), (2, 1), (3, 1)];
    world.feed(9);
    world.request(RequestResult::Later("503".into()));
    let backlog = BacklogStep::Event(3, RequestResult::Taken);
    world.now += Duration::from_secs(5);
    assert!(matches!(world.deliveries.start(world.now), Some(Work::Backlog(_))));
    assert_eq!(world.deliveries.line_answered(id(1), backlog, world.now).removed, 2);
    assert!(world.deliveries.backlogs().is_empty());
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
        let mut world = World::new();
        world.stream = jobs.iter().zip(1..).map(|(job, sequence)| (sequence, *job)).collect();
        for step in steps {
            match step {
                Step::Feed(most) => world.feed(most),
                Step::Request(0) => drop(world.request(RequestResult::Later("503".into()))),
                Step::Request(1) => drop(world.request(RequestResult::Refused("404".into()))),
                Step::Request(2) => drop(world.request(RequestResult::Gone)),
                Step::Request(3) => drop(world.request(RequestResult::Unsent("no object".into()))),
                Step::Request(_) => drop(world.request(RequestResult::Taken)),
                Step::Store => world.store(),
                Step::Crash => world.crash(),
                Step::StoreAndCrash => world.store_and_crash(),
                Step::Wait(seconds) => world.now += Duration::from_secs(seconds.into()),
            }
        }
        world.finish();
        world.assert_kept();
    }
}

#[test]
fn of_a_forgotten_job_nothing_is_sent_and_others_go_on() {
    let mut world = World::new();
    world.stream = vec![(1, 1), (2, 2), (3, 1), (4, 2), (5, 3)];
    world.feed(4);
    assert!(world.request(RequestResult::Later("503".into())), "job 1 waits in a backlog");
    world.store();
    assert_eq!(world.deliveries.forget(id(1)), 2);
    assert_eq!(world.deliveries.forget(id(2)), 2, "in memory");
    world.store();
    assert_eq!((world.bucket.len(), world.unacknowledged.len()), (0, 0));
    world.feed(1);
    while world.request(RequestResult::Taken) {}
    assert_eq!(world.taken, [(3, 5)]);
    assert_eq!(world.deliveries.forget(id(1)), 0);
    assert_eq!(world.deliveries.waiting(), 0);
}
