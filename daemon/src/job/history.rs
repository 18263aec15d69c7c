//! Histories of the job machine, by the thousand: a service that takes, refuses and forgets, and a daemon that is killed between any two
//! effects. A failing one prints its seed; `HARK_SEED=<n>` runs that one alone.

use std::time::Duration;

use hark_sdk::event::{Blame, Body, Engine, Fault, Kind, Recording, TranscriptFinal, Usage};
use jiff::{Timestamp, ToSpan};
use serde_json::Map;
use uuid::Uuid;

use super::machine::{self, Fact, Listing, Policy, accepted};
use super::{Consequence, Delivery, Duty, Failure, Job, Origin, Plan, State, Transcript};

/// SplitMix64: small, seeded, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What the service knows, whatever happens to the daemon: the reference that the events are held against.
#[derive(Default)]
struct Service {
    /// Objects and tasks of submits that it took.
    tasks: Vec<(Option<String>, String)>,
    /// Recognitions that it charged.
    charged: u64,
    /// Seconds of them that it told.
    told: u64,
}

/// The daemon's disk, and what it is about to do.
struct World {
    dice: Dice,
    job: Job,
    events: Vec<Body>,
    service: Service,
    policy: Policy,
    now: Timestamp,
    list_tells: bool,
    /// Our own record: a request left that may have been charged, and whose work never came.
    in_doubt: bool,
    /// And after it another one.
    repeated: bool,
    /// Tries that were charged and brought no transcript, and count as refused all the same.
    charged_in_vain: u64,
}

const SECONDS: u64 = 7;

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let job =
            Job::new(Uuid::nil(), "calls", "default", Origin::Nothing, Recording::default(), Map::new());
        let policy = Policy { ambiguous_retries: dice.roll(3) as u32, price: 0.000_035 };
        let list_tells = !dice.one_in(4);
        let (events, now) = (vec![accepted(&job)], job.accepted_at);
        World {
            dice,
            job,
            events,
            service: Service::default(),
            policy,
            now,
            list_tells,
            in_doubt: false,
            repeated: false,
            charged_in_vain: 0,
        }
    }

    /// One transaction: the state and its events, or neither.
    fn commit(&mut self, fact: Fact) {
        self.now += 1.second();
        let step = machine::advance(&self.job, fact, &self.policy, self.now);
        assert!(step.due >= self.now, "a duty in the past");
        self.job = step.job;
        self.job.sequence += step.events.len() as u64;
        self.events.extend(step.events);
        let may_be_under_way = matches!(self.job.state, State::Submitting { .. } | State::Reconciling { .. });
        assert!(may_be_under_way || !self.job.marks, "a mark may be taken back that another request set");
    }

    /// The service has a request, or nobody can tell that it has not.
    fn left(&mut self) {
        self.repeated |= self.in_doubt;
    }

    /// What is owed now tells what the daemon can know of the request that was under way.
    fn lost_sight(&mut self) {
        if !matches!(self.job.state, State::Reconciling { .. }) {
            self.left();
            self.in_doubt = true;
        }
    }

    fn fail(&mut self, consequence: Consequence) {
        let failure = Failure { fault: fault(Blame::Service), consequence, unsure: false };
        self.commit(Fact::Failed { failure, billed_seconds: 0, revision: 0 });
    }

    /// A failure after which the request may have been charged; `told`: the service says that it was.
    fn fail_in_doubt(&mut self, consequence: Consequence, told: bool) {
        let billed_seconds = if told { SECONDS } else { 0 };
        self.service.told += billed_seconds;
        let failure = Failure { fault: fault(Blame::Service), consequence, unsure: !told };
        self.commit(Fact::Failed { failure, billed_seconds, revision: 0 });
        self.lost_sight();
    }

    /// A file that is not where it was is looked for once more; `true`: it was not found then either.
    fn lost(&mut self) -> bool {
        while self.dice.one_in(12) {
            self.commit(Fact::Missing { fault: fault(Blame::Audio) });
            if matches!(self.job.state, State::Ended { failed: true, .. }) {
                return true;
            }
        }
        false
    }

    fn heard(&mut self) {
        self.service.told += SECONDS;
        let transcript = Transcript { billed_seconds: SECONDS, ..Transcript::default() };
        self.commit(Fact::Heard { transcript, revision: 3 });
    }

    fn crashed(&mut self) -> bool {
        let crashed = self.dice.one_in(9);
        if crashed {
            self.commit(Fact::Restarted);
            self.lost_sight();
        }
        crashed
    }

    /// A fact that comes too late, or twice.
    fn stray(&mut self) {
        let before = (self.job.clone(), self.events.len());
        match (self.job.state.clone(), self.dice.roll(4)) {
            (State::Accepted | State::Queued { .. } | State::Heard { .. }, 0) => self.commit(Fact::Stored),
            (State::Ended { .. } | State::Stored { .. } | State::Settled { .. }, 1) => {
                self.fail(Consequence::GiveUp)
            }
            (State::Settled { .. } | State::Ended { .. }, 2) => self.commit(Fact::Restarted),
            (State::Queued { .. } | State::Heard { .. } | State::Ended { .. }, 3) => {
                let fault = fault(Blame::Service);
                self.commit(Fact::Expiring { warnings: 5, fault: fault.clone(), retry_in: Duration::ZERO });
                self.commit(Fact::Held { told: 0, fault, retry_in: Duration::ZERO });
            }
            _ => return,
        }
        assert_eq!((self.job.clone(), self.events.len()), before, "a stray fact changed the job");
    }

    fn prepare(&mut self) {
        if self.lost() {
            return;
        }
        let recording = Box::new(Recording { duration_ms: Some(7_400), ..Recording::default() });
        if self.dice.one_in(12) {
            return self.commit(Fact::Unusable { recording, fault: fault(Blame::Audio) });
        }
        let plan = self.plan();
        self.commit(Fact::Prepared { recording, plan });
    }

    fn plan(&mut self) -> Plan {
        let (engine, delivery) = match self.dice.roll(3) {
            0 => (Engine::Flash, Delivery::Inline),
            1 => (Engine::Filetrans, Delivery::Upload),
            _ => (Engine::Filetrans, Delivery::Url),
        };
        Plan { engine, model: "model".into(), delivery, reason: "dice".into() }
    }

    fn send(&mut self) {
        if self.dice.one_in(10) {
            let plan = self.plan();
            return self.commit(Fact::Replanned { plan });
        }
        if self.lost() {
            return;
        }
        let State::Queued { plan } = self.job.state.clone() else { panic!("{:?} sends", self.job.state) };
        let object = (plan.delivery == Delivery::Upload).then(|| format!("object-{}", self.job.attempts));
        self.commit(Fact::Sending { object: object.clone() });
        if self.crashed() {
            return;
        }
        if self.dice.one_in(12) {
            return self.commit(Fact::Unsent);
        }
        match self.dice.roll(10) {
            0 => return self.fail(again(false)),
            1 => return self.fail(again(true)),
            2 => return self.fail(Consequence::Hold { after: Duration::from_secs(2), announce: true }),
            3 if self.dice.one_in(3) => return self.fail(Consequence::GiveUp),
            // A gateway that did not hand it on, and does not say so.
            4 if self.dice.one_in(3) => return self.fail_in_doubt(again(true), false),
            _ => {}
        }
        // The service has taken it. From here on, forgetting costs.
        self.service.charged += 1;
        let task = format!("task-{}", self.service.tasks.len());
        if plan.engine == Engine::Filetrans {
            self.service.tasks.push((object.clone(), task.clone()));
        }
        if self.crashed() {
            return;
        }
        if self.dice.one_in(6) {
            self.fail(Consequence::Unknown);
            return self.lost_sight();
        }
        if self.dice.one_in(12) {
            // A gateway that handed it on. The list tells, or the try counts as refused.
            self.charged_in_vain += u64::from(object.is_none());
            return self.fail_in_doubt(again(true), false);
        }
        match plan.engine {
            Engine::Flash => self.stream(),
            Engine::Filetrans => {
                self.commit(Fact::Taken { task_id: Some(task) });
                self.left();
            }
        }
    }

    /// The answer of flash has begun.
    fn stream(&mut self) {
        if self.dice.one_in(20) {
            // An error with a bill is all of it.
            return self.fail_in_doubt(Consequence::Unknown, true);
        }
        self.commit(Fact::Taken { task_id: None });
        self.left();
        if self.crashed() {
            return;
        }
        match self.dice.roll(12) {
            // An error in its middle, after it has told its bill.
            0 => self.fail_in_doubt(Consequence::Unknown, true),
            1 => self.fail_in_doubt(Consequence::GiveUp, false),
            2 => {
                // An error before anything was heard.
                self.service.charged -= 1;
                self.fail(again(true));
            }
            _ => self.heard(),
        }
    }

    fn reconcile(&mut self) {
        let State::Reconciling { object, .. } = self.job.state.clone() else { panic!("reconciles") };
        let listing = match self.service.tasks.iter().find(|(known, _)| known.as_deref() == Some(&object)) {
            _ if !self.list_tells => Listing::CannotTell,
            _ if self.dice.one_in(4) => Listing::Undecided,
            Some((_, task)) => Listing::Found { task_id: task.clone() },
            None => Listing::Absent,
        };
        let is_found = matches!(listing, Listing::Found { .. });
        let cannot_tell = listing == Listing::CannotTell;
        self.commit(Fact::Listed(listing));
        if is_found {
            self.left();
        }
        if cannot_tell {
            self.lost_sight();
        }
    }

    fn follow(&mut self) {
        // The service deletes what is not fetched in a day; saying so costs nothing and changes nothing at the service.
        while self.dice.one_in(5) {
            self.warn();
        }
        match self.dice.roll(8) {
            0 => {
                self.service.charged -= 1;
                self.fail(again(true));
            }
            1 => {
                self.fail(Consequence::Unknown);
                self.in_doubt = true;
            }
            // A task that failed and tells a bill.
            2 if self.dice.one_in(3) => self.fail_in_doubt(Consequence::Unknown, true),
            _ => self.heard(),
        }
    }

    /// A warning stands in the events once, however often it is told.
    fn warn(&mut self) {
        let State::Submitted { warned, .. } = self.job.state else { panic!("warns of a result") };
        let warnings = self.dice.roll(5) as u32;
        let (before, events) = (self.job.clone(), self.events.len());
        let retry_in = Duration::from_secs(30);
        self.commit(Fact::Expiring { warnings, fault: fault(Blame::Service), retry_in });
        assert_eq!(self.job.state.duty(), Duty::Follow);
        assert_eq!(self.events.len() - events, usize::from(warnings > warned));
        self.commit(Fact::Hindered { fault: fault(Blame::Account), retry_in });
        assert_eq!(self.events.len() - events, usize::from(warnings > warned) + 1, "a hindrance is said");
        let untouched = (self.job.attempts, self.job.ambiguous, self.job.billed_seconds);
        assert_eq!(untouched, (before.attempts, before.ambiguous, before.billed_seconds));
    }

    fn pipe(&mut self) {
        let event = TranscriptFinal {
            engine: Engine::Flash,
            model: "model".into(),
            text: String::new(),
            language: None,
            emotion: None,
            truncated: false,
            segments: Some(Vec::new()),
            segments_object: None,
            usage: Usage { seconds: SECONDS },
        };
        self.commit(Fact::Piped { event: Box::new(event), emitted: Vec::new() });
    }

    /// Runs to the end; a job that never ends is the first thing that can be wrong.
    fn run(&mut self) {
        for _ in 0..2_000 {
            self.stray();
            // A crash before an effect that costs nothing is an effect that comes again.
            if self.dice.one_in(9) {
                self.commit(Fact::Restarted);
            }
            match self.job.state.duty() {
                Duty::Prepare => self.prepare(),
                Duty::Flash | Duty::Submit => self.send(),
                Duty::Reconcile => self.reconcile(),
                Duty::Follow => self.follow(),
                Duty::Pipe => self.pipe(),
                Duty::Publish => self.commit(Fact::Stored),
                Duty::Settle => self.commit(Fact::Settled),
                Duty::Nothing => return,
            }
        }
        panic!("the job does not end: {:?}", self.job.state);
    }

    fn check(&self) {
        let kinds: Vec<Kind> = self.events.iter().map(Body::kind).collect();
        assert_eq!(kinds.first(), Some(&Kind::JobAccepted));
        assert_eq!(kinds.iter().filter(|kind| kind.is_last()).count(), 1, "one last event: {kinds:?}");
        assert!(kinds.last().is_some_and(Kind::is_last), "nothing after the last event: {kinds:?}");
        assert_eq!(self.job.sequence + 1, self.events.len() as u64, "sequences without a gap");
        let finals = kinds.iter().filter(|kind| **kind == Kind::TranscriptFinal).count();
        let (bill, completed) = match self.events.last() {
            Some(Body::JobCompleted(event)) => (&event.bill, true),
            Some(Body::JobFailed(event)) => {
                assert!(event.error.attempts.is_some_and(|attempts| attempts > 0));
                (&event.bill, false)
            }
            other => panic!("{other:?} is no last event"),
        };
        assert_eq!(finals, usize::from(completed), "a final and a completion belong together");
        assert_eq!(bill.billed_seconds, self.service.told, "seconds told = seconds reported");
        if self.service.charged > 1 {
            assert!(bill.possible_duplicate_charge, "charged {} times, unmarked", self.service.charged);
        }
        assert_eq!(
            bill.possible_duplicate_charge, self.repeated,
            "marked where what may be paid was repeated"
        );
        let is_announced =
            |event: &Body| matches!(event, Body::JobSubmitted(event) if event.possible_duplicate_charge);
        assert!(
            bill.possible_duplicate_charge || !self.events.iter().any(is_announced),
            "a mark that is told stays"
        );
        assert!(self.job.ambiguous <= self.policy.ambiguous_retries + 1, "repeats within their budget");
        assert!(
            self.service.charged <= 1 + u64::from(self.policy.ambiguous_retries) + self.charged_in_vain,
            "charges within the budget"
        );
    }
}

/// Another try; `counts` against the budget of refusals.
fn again(counts: bool) -> Consequence {
    Consequence::Retry { after: Duration::from_secs(1), counts }
}

fn fault(blame: Blame) -> Fault {
    Fault { code: "Code".into(), blame, message: "why".into(), attempts: None }
}

fn history(seed: u64) {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        world.run();
        world.check();
    });
    if let Err(panic) = outcome {
        eprintln!("history with HARK_SEED={seed} failed");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_history_ends_once_and_pays_once_or_says_so() {
    if let Some(seed) = std::env::var("HARK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return history(seed);
    }
    (0..20_000).for_each(history);
}

#[test]
fn a_submit_that_never_arrives_is_tried_ever_more_seldom_and_then_given_up() {
    let policy = Policy { ambiguous_retries: 1, price: 0.0 };
    let plan = Plan {
        engine: Engine::Filetrans,
        model: "model".into(),
        delivery: Delivery::Upload,
        reason: String::new(),
    };
    let mut job =
        Job::new(Uuid::nil(), "calls", "default", Origin::Nothing, Recording::default(), Map::new());
    job.state = State::Queued { plan };
    let mut now = job.accepted_at;
    let mut waits = Vec::new();
    while let State::Queued { .. } = job.state {
        let lost = Failure { fault: fault(Blame::Service), consequence: Consequence::Unknown, unsure: false };
        for fact in [
            Fact::Sending { object: Some("object".into()) },
            Fact::Failed { failure: lost, billed_seconds: 0, revision: 0 },
            Fact::Listed(Listing::Absent),
            Fact::Listed(Listing::Absent),
        ] {
            let step = machine::advance(&job, fact, &policy, now);
            (job, now) = (step.job, now.max(step.due));
            waits.push(step.due);
        }
    }
    assert!(matches!(job.state, State::Ended { failed: true, .. }), "{:?}", job.state);
    assert_eq!((job.attempts, job.ambiguous, job.possible_duplicate_charge), (18, 0, false));
    let longest = waits.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().unwrap();
    assert_eq!(longest.as_secs(), 300, "the last waits are long");
}
