//! What is known of a history: the job, its events, what the service charged and told, and what has to be true at the end.

use hark_sdk::event::{Blame, Body, Fault, Kind, Recording};
use jiff::{Timestamp, ToSpan};
use serde_json::Map;
use uuid::Uuid;

use super::dice::Dice;
use crate::job::machine::{self, Fact, Policy, accepted};
use crate::job::{Consequence, Failure, Job, Origin, State, Transcript};

/// What every recording is billed.
pub(super) const SECONDS: u64 = 7;

/// What the service knows, whatever happens to the daemon: the reference that the events are held against.
#[derive(Default)]
pub(super) struct Service {
    /// Objects and tasks of submits that it took.
    pub(super) tasks: Vec<(Option<String>, String)>,
    /// Recognitions that it charged.
    pub(super) charged: u64,
    /// Seconds of them that it told.
    told: u64,
}

/// The daemon's disk, and what it is about to do.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) job: Job,
    pub(super) events: Vec<Body>,
    pub(super) service: Service,
    pub(super) policy: Policy,
    now: Timestamp,
    pub(super) list_tells: bool,
    /// Our own record: a request left that may have been charged, and whose work never came.
    pub(super) in_doubt: bool,
    /// And after it another one.
    repeated: bool,
    /// Tries that were charged and brought no transcript, and count as refused all the same.
    pub(super) charged_in_vain: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
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
    pub(super) fn commit(&mut self, fact: Fact) {
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
    pub(super) fn left(&mut self) {
        self.repeated |= self.in_doubt;
    }

    /// What is owed now tells what the daemon can know of the request that was under way.
    pub(super) fn lost_sight(&mut self) {
        if !matches!(self.job.state, State::Reconciling { .. }) {
            self.left();
            self.in_doubt = true;
        }
    }

    pub(super) fn fail(&mut self, consequence: Consequence) {
        let failure = Failure { fault: fault(Blame::Service), consequence, unsure: false };
        self.commit(Fact::Failed { failure, billed_seconds: 0, revision: 0 });
    }

    /// A failure after which the request may have been charged; `told`: the service says that it was.
    pub(super) fn fail_in_doubt(&mut self, consequence: Consequence, told: bool) {
        let billed_seconds = if told { SECONDS } else { 0 };
        self.service.told += billed_seconds;
        let failure = Failure { fault: fault(Blame::Service), consequence, unsure: !told };
        self.commit(Fact::Failed { failure, billed_seconds, revision: 0 });
        self.lost_sight();
    }

    pub(super) fn heard(&mut self) {
        self.service.told += SECONDS;
        let transcript = Transcript { billed_seconds: SECONDS, ..Transcript::default() };
        self.commit(Fact::Heard { transcript, revision: 3 });
    }

    pub(super) fn check(&self) {
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

pub(super) fn fault(blame: Blame) -> Fault {
    Fault { code: "Code".into(), blame, message: "why".into(), attempts: None }
}
