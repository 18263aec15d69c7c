//! What the daemons that share a stream tell each other about a message's job. Pure.

use hark_sdk::event::Recording;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::hex::hex;
use crate::job::{Job, Plan, State, Ticket};

/// The value of a key in `HARK_JOBS`: who works on a message's job, and what another daemon needs in order to go on with it without
/// paying again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub job: Uuid,
    /// The daemon, by the id in its ledger.
    pub owner: Uuid,
    pub state: Stage,
    pub task_id: Option<String>,
    /// `<stream>.<sequence>@<time>` of the message that it was made for.
    pub place: String,
    /// The delivery of that message under which the owner has it: a later one means that the owner was given up.
    pub delivery: i64,
    accepted_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    /// Unique name of the upload, by which its task can be told from all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// When the request was about to leave, or when its task was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    recording: Recording,
    attempts: u32,
    refusals: u32,
    ambiguous: u32,
    possible_duplicate_charge: bool,
    billed_seconds: u64,
    revision: u64,
    /// As of [`Job::unsure`] and [`Job::inherited`]: why the next request has to be marked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    inherited: bool,
}

/// How far a job has come, as far as money is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing is under way at the service.
    Accepted,
    /// A request that costs may have left.
    Submitting,
    /// The service has it under `task_id`.
    Submitted,
    /// The last event is stored.
    Ended,
}

/// What a delivery is to the daemon that got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has it.
    New,
    /// Its last event is stored: it wants an acknowledgement and nothing else.
    Over,
    /// This daemon has it.
    Mine,
    /// Another message of the same id, which another daemon works on: it waits for that one's end.
    Wait,
    /// An old delivery; whoever has a newer one has the job.
    Stale,
    /// Its owner was silent for `ack_wait`.
    TakeOver,
}

/// Judges the `delivery`-th delivery of the message at `place` by what the bucket says of it.
pub fn judge(claim: Option<&Claim>, me: Uuid, place: &str, delivery: i64) -> Verdict {
    match claim {
        None => Verdict::New,
        Some(claim) if claim.state == Stage::Ended => Verdict::Over,
        Some(claim) if claim.owner == me => Verdict::Mine,
        Some(claim) if claim.place != place => Verdict::Wait,
        // A daemon that was stopped finds deliveries in its buffers that were made to others since.
        Some(claim) if delivery <= claim.delivery => Verdict::Stale,
        Some(_) => Verdict::TakeOver,
    }
}

/// The key of a message: of its id, so that a repeat elsewhere in the stream finds it; else `<stream>.<sequence>`.
pub fn key(message_id: Option<&str>, place: &str) -> String {
    let counted = place.split('@').next().unwrap_or(place);
    // A stream's name may have characters that a key may not.
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=/.".contains(&byte));
    let name = message_id.map(str::to_owned).or_else(|| (!is_plain(counted)).then(|| counted.to_owned()));
    name.map_or_else(|| counted.to_owned(), |name| hex(&Sha256::digest(name)))
}

/// The key where that one is taken by a message that is none of ours ([`Claim::is_foreign`]).
pub fn second_key(message_id: Option<&str>, place: &str) -> String {
    let name = message_id.map_or_else(|| place.to_owned(), |id| format!("{}\n{id}", stream_of(place)));
    hex(&Sha256::digest(name))
}

impl Claim {
    /// Of a job that is about to be taken in.
    pub fn new(job: Uuid, owner: Uuid, place: &str, delivery: i64) -> Self {
        Claim {
            job,
            owner,
            state: Stage::Accepted,
            task_id: None,
            place: place.to_owned(),
            delivery,
            accepted_at: Timestamp::now(),
            plan: None,
            object: None,
            since: None,
            recording: Recording::default(),
            attempts: 0,
            refusals: 0,
            ambiguous: 0,
            possible_duplicate_charge: false,
            billed_seconds: 0,
            revision: 0,
            unsure: false,
            inherited: false,
        }
    }

    /// Of a job that the ledger knows and the bucket does not (any more).
    pub fn of(job: &Job, ticket: &Ticket, owner: Uuid) -> Self {
        let mut claim = Claim::new(job.id, owner, &ticket.place, 0);
        if let State::Heard { .. } | State::Ended { .. } = job.state {
            // What was paid is in our ledger only.
            claim.state = Stage::Submitting;
        }
        claim.follow(job);
        claim
    }

    /// Says what the job says. What happens between the service's answer and the last event is not told: until that is stored,
    /// another daemon would have to go back to the service.
    pub fn follow(&mut self, job: &Job) {
        let (state, task_id, object, since) = match &job.state {
            State::Accepted | State::Queued { .. } => (Stage::Accepted, None, None, None),
            State::Submitting { object, sent_at, .. } => {
                (Stage::Submitting, None, object.clone(), Some(*sent_at))
            }
            State::Reconciling { object, sent_at, .. } => {
                (Stage::Submitting, None, Some(object.clone()), Some(*sent_at))
            }
            State::Submitted { task_id, submitted_at, .. } => {
                (Stage::Submitted, Some(task_id.clone()), None, Some(*submitted_at))
            }
            State::Heard { .. } | State::Ended { .. } => {
                (self.state, self.task_id.take(), self.object.take(), self.since)
            }
            State::Stored { .. } | State::Settled { .. } => (Stage::Ended, self.task_id.take(), None, None),
        };
        self.job = job.id;
        self.accepted_at = job.accepted_at;
        (self.state, self.task_id, self.object, self.since) = (state, task_id, object, since);
        self.plan = job.state.plan().cloned().or(self.plan.take());
        self.recording = job.recording.clone();
        self.attempts = job.attempts;
        self.refusals = job.refusals;
        self.ambiguous = job.ambiguous;
        self.possible_duplicate_charge = job.possible_duplicate_charge;
        self.billed_seconds = job.billed_seconds;
        self.revision = job.revision;
        (self.unsure, self.inherited) = (job.unsure, job.inherited);
    }

    /// Makes of the message's job the one that the claim tells of, where it stands.
    pub fn resume(&self, mut job: Job) -> Job {
        job.accepted_at = self.accepted_at;
        job.attempts = self.attempts;
        job.refusals = self.refusals;
        job.ambiguous = self.ambiguous;
        job.possible_duplicate_charge = self.possible_duplicate_charge;
        job.billed_seconds = self.billed_seconds;
        job.revision = self.revision;
        let since = self.since.unwrap_or(self.accepted_at);
        let (state, inherited) = match (self.state, self.plan.clone(), self.task_id.clone()) {
            (Stage::Submitted, Some(plan), Some(task_id)) => {
                (State::Submitted { plan, task_id, submitted_at: since, warned: 0 }, false)
            }
            (Stage::Submitting, Some(plan), _) => {
                (State::Submitting { plan, object: self.object.clone(), sent_at: since }, true)
            }
            _ => (State::Accepted, false),
        };
        if state != State::Accepted {
            job.recording = self.recording.clone();
        }
        (job.state, job.inherited) = (state, inherited || self.inherited);
        job.unsure = self.unsure;
        job
    }

    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Of the message that it was made for.
    pub fn sequence(&self) -> Option<u64> {
        self.place.split_once('.')?.1.split('@').next()?.parse().ok()
    }

    /// It is another message's that came to the same key: one with the same id in another stream (ids are their senders', and two
    /// streams have two senders), or one of a stream that was deleted and counts from one again.
    pub fn is_foreign(&self, message_id: Option<&str>, place: &str) -> bool {
        match message_id {
            Some(_) => stream_of(&self.place) != stream_of(place),
            None => self.place != place,
        }
    }
}

/// Names of streams have no dots.
fn stream_of(place: &str) -> &str {
    place.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Engine;
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::job::{Delivery, Origin, Transcript};

    const PLACE: &str = "HARK_AUDIO.7@1790000000000000000";

    fn plan() -> Plan {
        Plan {
            engine: Engine::FILETRANS,
            model: "model".into(),
            delivery: Delivery::Upload,
            reason: "dice".into(),
        }
    }

    fn job(state: State) -> Job {
        let recording = Recording { duration_ms: Some(7), ..Recording::default() };
        let job = Job::new(Uuid::now_v7(), "inbox", "default", Origin::Nothing, recording, Map::new());
        Job { state, ..job }
    }

    fn states() -> impl Strategy<Value = State> {
        let now = Timestamp::now();
        let object = || Some("object-1".to_owned());
        prop_oneof![
            Just(State::Accepted),
            Just(State::Queued { plan: plan() }),
            Just(State::Submitting { plan: plan(), object: object(), sent_at: now }),
            Just(State::Submitting { plan: plan(), object: None, sent_at: now }),
            Just(State::Reconciling {
                plan: plan(),
                object: "object-1".into(),
                absences: 1,
                sent_at: now,
                until: None,
                fault: None,
            }),
            Just(State::Submitted { plan: plan(), task_id: "task-1".into(), submitted_at: now, warned: 0 }),
            Just(State::Heard { plan: plan(), transcript: Transcript::default() }),
            Just(State::Ended { failed: false, bad_input: false }),
            Just(State::Stored { failed: false, bad_input: false }),
            Just(State::Settled { failed: true }),
        ]
    }

    proptest! {
        #[test]
        fn a_job_is_taken_from_another_only_when_its_own_message_was_delivered_anew(
            state in states(), mine: bool, same_place: bool, held in 1_i64..4, delivery in 1_i64..4,
        ) {
            let (me, other) = (Uuid::now_v7(), Uuid::now_v7());
            let job = job(state);
            let mut claim = Claim::new(job.id, if mine { me } else { other }, PLACE, held);
            claim.follow(&job);
            let place = if same_place { PLACE } else { "HARK_AUDIO.9" };
            let verdict = judge(Some(&claim), me, place, delivery);
            let over = matches!(job.state, State::Stored { .. } | State::Settled { .. });
            prop_assert_eq!(verdict == Verdict::Over, over);
            prop_assert_eq!(verdict == Verdict::Mine, !over && mine);
            prop_assert_eq!(verdict == Verdict::TakeOver, !over && !mine && same_place && delivery > held);
            prop_assert_eq!(judge(None, me, place, delivery), Verdict::New);
        }

        #[test]
        fn whoever_takes_over_never_sends_what_may_have_been_sent(history in prop::collection::vec(states(), 1..8)) {
            let (me, ticket) = (Uuid::now_v7(), Ticket { key: PLACE.into(), place: PLACE.into() });
            let first = job(State::Accepted);
            let mut claim = Claim::of(&first, &ticket, me);
            for state in history {
                let before = claim.clone();
                let now = Job { state, attempts: 3, ambiguous: 1, billed_seconds: 9, unsure: true, ..first.clone() };
                claim.follow(&now);
                let read: Claim = serde_json::from_slice(&serde_json::to_vec(&claim).unwrap()).unwrap();
                prop_assert_eq!(&read, &claim);
                let resumed = claim.resume(Job { id: first.id, ..job(State::Accepted) });
                prop_assert_eq!((resumed.attempts, resumed.ambiguous, resumed.billed_seconds), (3, 1, 9));
                prop_assert!(resumed.unsure);
                match &now.state {
                    State::Accepted | State::Queued { .. } => prop_assert_eq!(resumed.state, State::Accepted),
                    State::Submitting { .. } => {
                        prop_assert_eq!(resumed.state, now.state);
                        prop_assert!(resumed.inherited);
                    }
                    State::Reconciling { .. } => {
                        let told_apart = matches!(resumed.state, State::Submitting { object: Some(_), .. });
                        prop_assert!(told_apart, "its task is found by the upload");
                    }
                    State::Submitted { .. } => prop_assert_eq!(resumed.state, now.state),
                    // Nothing that the service did is told of these: what was, stays.
                    State::Heard { .. } | State::Ended { .. } => {
                        prop_assert_eq!((claim.state, &claim.task_id), (before.state, &before.task_id))
                    }
                    State::Stored { .. } | State::Settled { .. } => prop_assert_eq!(claim.state, Stage::Ended),
                }
            }
        }
    }

    #[test]
    fn a_key_is_of_the_message_id_or_of_the_place() {
        assert_eq!(key(None, PLACE), "HARK_AUDIO.7");
        let odd = key(None, "calls:in.7@5");
        assert!(odd.len() == 64 && odd != key(None, "calls:in.8@5"), "no key may have a colon: {odd}");
        assert_eq!(key(Some("a"), PLACE), "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
        assert_ne!(second_key(Some("a"), "ONE.1@5"), second_key(Some("a"), "TWO.1@5"));
        assert_eq!(second_key(Some("a"), "ONE.1@5"), second_key(Some("a"), "ONE.2@6"));
        assert_ne!(second_key(None, "ONE.1@5"), second_key(None, "ONE.1@6"));

        let claim = Claim::new(Uuid::now_v7(), Uuid::now_v7(), "ONE.1@5", 1);
        assert!(!claim.is_foreign(None, "ONE.1@5") && !claim.is_foreign(Some("a"), "ONE.2@6"));
        assert!(claim.is_foreign(None, "ONE.1@6"), "the stream was made anew");
        assert!(claim.is_foreign(Some("a"), "TWO.1@5"));
        assert_eq!(claim.sequence(), Some(1));
    }
}
