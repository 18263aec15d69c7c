//! What happens in a history: the daemon does what is owed, and the service, the disk and the dice answer.

use std::time::Duration;

use hark_sdk::event::{Blame, Engine, Recording, TranscriptFinal, Usage};

use super::world::{SECONDS, World, fault};
use crate::job::machine::{Fact, Listing};
use crate::job::{Consequence, Delivery, Duty, Plan, State};

impl World {
    /// Runs to the end; a job that never ends is the first thing that can be wrong.
    pub(super) fn run(&mut self) {
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
                Duty::Settle => self.commit(Fact::Settled { missed: false }),
                Duty::Nothing => return,
            }
        }
        panic!("the job does not end: {:?}", self.job.state);
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

    fn crashed(&mut self) -> bool {
        let crashed = self.dice.one_in(9);
        if crashed {
            self.commit(Fact::Restarted);
            self.lost_sight();
        }
        crashed
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
            0 => (Engine::FLASH, Delivery::Inline),
            1 => (Engine::FILETRANS, Delivery::Upload),
            _ => (Engine::FILETRANS, Delivery::Url),
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
        if plan.engine == Engine::FILETRANS {
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
        if plan.engine == Engine::FLASH {
            self.stream();
        } else {
            self.commit(Fact::Taken { task_id: Some(task) });
            self.left();
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
            engine: Engine::FLASH,
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
}

/// Another try; `counts` against the budget of refusals.
fn again(counts: bool) -> Consequence {
    Consequence::Retry { after: Duration::from_secs(1), counts }
}
