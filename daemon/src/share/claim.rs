//! The claim: what the daemons that share a stream tell each other about a message's job. Pure.

use hark_sdk::event::Recording;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::hex::hex;
use crate::job::{Attempt, Fate, Job, Piece, PieceState, Plan, Span, Stage, Ticket};

/// The value of a key in `HARK_JOBS`: which daemon works on a message's job, and what another daemon needs in order to continue the job
/// without paying again. A claim holds no text, no names and no metadata: the daemon that takes over reads the message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub job: Uuid,
    /// The daemon that owns the job, by the id in its ledger.
    pub owner: Uuid,
    /// `<stream>.<sequence>@<time>` of the message that the claim was made for.
    pub place: String,
    /// The delivery count of that message when the owner received it. A higher count means that the owner sent no acknowledgement and no
    /// sign of progress for `ack_wait`.
    pub delivery: i64,
    accepted_at: Timestamp,
    /// The job's last event is stored in JetStream.
    pub ended: bool,
    /// Highest revision that a partial may have had when the claim was written.
    revision: u64,
    plan: Option<Plan>,
    /// What the probe found out about the recording.
    measured: Measured,
    /// The pieces with an attempt that may have cost something.
    pieces: Vec<ClaimedPiece>,
    /// See [`Job::maybe_paid`].
    pub maybe_paid: bool,
}

/// What a probe found out about a recording.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Measured {
    format: Option<String>,
    duration_ms: Option<u64>,
    channels: Option<u32>,
}

/// The part of a piece that another daemon needs in order not to pay twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ClaimedPiece {
    number: u32,
    span: Span,
    recognizer: String,
    model: String,
    failures: u32,
    attempts: Vec<Attempt>,
}

/// What a delivery of a message means to the daemon that received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No daemon has claimed the message's job.
    New,
    /// The job's last event is stored: the daemon acknowledges the message and does nothing else.
    Over,
    /// This daemon owns the job.
    Mine,
    /// The message is a duplicate: another message with the same id has the claim, and another daemon works on that message's job. The
    /// duplicate waits until that job ends.
    Wait,
    /// An outdated delivery: the message was redelivered since, and the daemon that received the later delivery owns the job.
    Stale,
    /// The message was redelivered: the owner was silent for `ack_wait`.
    TakeOver,
}

/// Judges the `delivery`-th delivery of the message at `place` by the claim that the bucket has for the message.
pub fn judge(claim: Option<&Claim>, me: Uuid, place: &str, delivery: i64) -> Verdict {
    match claim {
        None => Verdict::New,
        Some(claim) if claim.ended => Verdict::Over,
        Some(claim) if claim.owner == me => Verdict::Mine,
        Some(claim) if claim.place != place => Verdict::Wait,
        // A daemon that was stopped for a while finds deliveries in its buffers whose messages were redelivered to other daemons since.
        Some(claim) if delivery <= claim.delivery => Verdict::Stale,
        Some(_) => Verdict::TakeOver,
    }
}

/// The key of a message: the hash of its id, so that a duplicate message elsewhere in the stream has the same key. A message without an
/// id has the key `<stream>.<sequence>`.
pub fn key(message_id: Option<&str>, place: &str) -> String {
    let counted = place.split('@').next().unwrap_or(place);
    // The name of a stream may contain characters that a key may not contain.
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=/.".contains(&byte));
    let name = message_id.map(str::to_owned).or_else(|| (!is_plain(counted)).then(|| counted.to_owned()));
    name.map_or_else(|| counted.to_owned(), |name| hex(&Sha256::digest(name)))
}

/// The message's second key: it is used where another message's claim has the first key ([`Claim::is_foreign`]).
pub fn second_key(message_id: Option<&str>, place: &str) -> String {
    let name = message_id.map_or_else(|| place.to_owned(), |id| format!("{}\n{id}", stream_of(place)));
    hex(&Sha256::digest(name))
}

impl Claim {
    /// The claim of a job that the daemon is about to accept.
    pub fn new(job: Uuid, owner: Uuid, place: &str, delivery: i64) -> Self {
        let (place, accepted_at) = (place.to_owned(), Timestamp::now());
        Claim { job, owner, place, delivery, accepted_at, ..Claim::default() }
    }

    /// The claim of a job that the ledger has and the bucket does not have (any more).
    pub fn of(job: &Job, pieces: &[Piece], ticket: &Ticket, owner: Uuid) -> Self {
        let mut claim = Claim::new(job.id, owner, &ticket.place, 0);
        claim.follow(job, pieces);
        claim
    }

    /// Copies the state of the job and its pieces into the claim, but not the transcript: until the final is stored, a daemon that takes
    /// over has to ask the recognizer again.
    pub fn follow(&mut self, job: &Job, pieces: &[Piece]) {
        self.job = job.id;
        self.accepted_at = job.accepted_at;
        self.ended = matches!(job.stage, Stage::Stored { .. } | Stage::Settled { .. });
        self.revision = job.revision;
        self.plan.clone_from(&job.plan);
        self.maybe_paid = job.maybe_paid;
        let recording = &job.recording;
        self.measured = Measured {
            format: recording.format.clone(),
            duration_ms: recording.duration_ms,
            channels: recording.channels,
        };
        let may_have_cost = pieces.iter().filter(|piece| !self.ended && piece.may_have_cost());
        self.pieces = may_have_cost.map(ClaimedPiece::of).collect();
    }

    /// Brings `job`, made anew from the message, to the state that the claim describes; returns the job and its pieces. The caller writes
    /// both to the ledger and then reports `Restarted` to the piece machine: the former owner may still send an attempt that is open here.
    pub fn resume(&self, mut job: Job) -> (Job, Vec<Piece>) {
        job.accepted_at = self.accepted_at;
        job.revision = self.revision;
        job.maybe_paid = self.maybe_paid;
        let Some(plan) = self.plan.clone().filter(|_| !self.pieces.is_empty()) else {
            // No attempt may have cost anything: the job is planned anew.
            return (job, Vec::new());
        };
        let Measured { format, duration_ms, channels } = self.measured.clone();
        job.recording = Recording { format, duration_ms, channels, ..job.recording };
        job.stage = match plan.cut {
            // The recording is cut again from its begin; the pieces that are known stay as they are.
            Some(_) => Stage::Cutting { to_ms: 0, pieces: 0 },
            None => Stage::Recognizing,
        };
        job.plan = Some(plan);
        job.pieces = self.pieces.iter().map(|piece| piece.number).max().unwrap_or(0);
        job.submitted =
            self.pieces.iter().any(|piece| piece.attempts.iter().any(|attempt| attempt.fate == Fate::Taken));
        (job, self.pieces.iter().map(ClaimedPiece::resume).collect())
    }

    /// Stream sequence of the message that the claim was made for.
    pub fn sequence(&self) -> Option<u64> {
        self.place.split_once('.')?.1.split('@').next()?.parse().ok()
    }

    /// Whether the claim belongs to an unrelated message that has the same key: a message with the same id in another stream (senders
    /// choose the ids, and two streams have two senders), or a message of a stream that was deleted and counts from one again.
    pub fn is_foreign(&self, message_id: Option<&str>, place: &str) -> bool {
        match message_id {
            Some(_) => stream_of(&self.place) != stream_of(place),
            None => self.place != place,
        }
    }
}

/// The stream's name in a place. Names of streams contain no dots.
fn stream_of(place: &str) -> &str {
    place.split('.').next().unwrap_or_default()
}

impl ClaimedPiece {
    fn of(piece: &Piece) -> ClaimedPiece {
        ClaimedPiece {
            number: piece.number,
            span: piece.span.clone(),
            recognizer: piece.recognizer.clone(),
            model: piece.model.clone(),
            failures: piece.failures,
            attempts: piece.attempts.clone(),
        }
    }

    fn resume(&self) -> Piece {
        let mut piece = Piece::new(self.number, self.span.clone(), &self.recognizer, &self.model);
        piece.failures = self.failures;
        piece.attempts.clone_from(&self.attempts);
        piece.state = match piece.last_attempt() {
            // Fetching the task's result again costs nothing.
            Some(last) if last.fate == Fate::Taken && last.handle.is_some() => {
                PieceState::Awaiting { warned: 0 }
            }
            // A claim does not tell what answer the former owner has received, if any.
            Some(last) if matches!(last.fate, Fate::Open | Fate::Taken) => PieceState::Sending,
            _ => PieceState::Queued,
        };
        piece
    }
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::Engine;
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;
    use crate::job::{Delivery, Origin, persisted};

    const PLACE: &str = "HARK_AUDIO.7@1790000000000000000";

    fn job(stage: Stage) -> Job {
        let recording = Recording {
            uri: "nats:HARK_AUDIO/7".into(),
            name: Some("secret-name.wav".into()),
            duration_ms: Some(7),
            ..Recording::default()
        };
        let metadata = Map::from_iter([("agent".to_owned(), "secret-agent".into())]);
        let job = Job::new(Uuid::now_v7(), "inbox", "default", Origin::Nothing, recording, metadata);
        let plan = Plan {
            engine: Engine::FILETRANS,
            model: "model".into(),
            delivery: Delivery::Upload,
            cut: None,
            reason: "test".into(),
        };
        Job { stage, plan: Some(plan), ..job }
    }

    fn stages() -> impl Strategy<Value = Stage> {
        prop_oneof![
            Just(Stage::Accepted),
            Just(Stage::Recognizing),
            Just(Stage::Heard),
            Just(Stage::Ended { failed: false, bad_input: false }),
            Just(Stage::Stored { failed: false, bad_input: false }),
            Just(Stage::Settled { failed: true }),
        ]
    }

    fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
        let fates = prop::sample::select(vec![
            Fate::Open,
            Fate::NotSent,
            Fate::Refused,
            Fate::MaybeForwarded,
            Fate::Absent,
            Fate::Taken,
            Fate::Unknown,
        ]);
        let one = (fates, any::<bool>(), any::<bool>()).prop_map(|(fate, marker, handle)| Attempt {
            fate,
            handle: (fate == Fate::Taken && handle).then(|| "task-1".to_owned()),
            ..Attempt::open(1, Uuid::nil(), Timestamp::UNIX_EPOCH, marker.then(|| "object-1".to_owned()))
        });
        prop::collection::vec(one, 0..4)
    }

    proptest! {
        #[test]
        fn a_job_is_taken_from_another_only_when_its_own_message_was_delivered_anew(
            stage in stages(), mine: bool, same_place: bool, held in 1_i64..4, delivery in 1_i64..4,
        ) {
            let (me, other) = (Uuid::now_v7(), Uuid::now_v7());
            let job = job(stage);
            let mut claim = Claim::new(job.id, if mine { me } else { other }, PLACE, held);
            claim.follow(&job, &[]);
            let place = if same_place { PLACE } else { "HARK_AUDIO.9" };
            let verdict = judge(Some(&claim), me, place, delivery);
            let over = matches!(job.stage, Stage::Stored { .. } | Stage::Settled { .. });
            prop_assert_eq!(verdict == Verdict::Over, over);
            prop_assert_eq!(verdict == Verdict::Mine, !over && mine);
            prop_assert_eq!(verdict == Verdict::TakeOver, !over && !mine && same_place && delivery > held);
            prop_assert_eq!(judge(None, me, place, delivery), Verdict::New);
        }

        #[test]
        fn a_daemon_that_takes_over_knows_every_attempt_that_may_have_cost(attempts in attempts()) {
            let (me, ticket) = (Uuid::now_v7(), Ticket { key: PLACE.into(), place: PLACE.into() });
            let job = job(Stage::Recognizing);
            let mut piece = Piece::new(1, Span::whole(Some(7)), "filetrans", "model");
            piece.attempts = attempts;
            let claim = Claim::of(&job, std::slice::from_ref(&piece), &ticket, me);
            let text = persisted::to_json(&claim).unwrap();
            prop_assert!(!text.contains("secret"), "no names and no metadata: {}", text);
            let read: Claim = persisted::from_json(text.as_bytes()).unwrap();
            prop_assert_eq!(&read, &claim);

            let (resumed, pieces) = read.resume(Job { id: job.id, plan: None, ..self::job(Stage::Accepted) });
            if !piece.may_have_cost() {
                prop_assert_eq!((resumed.stage, pieces.len()), (Stage::Accepted, 0));
                return Ok(());
            }
            prop_assert_eq!(resumed.stage, Stage::Recognizing);
            prop_assert_eq!(&pieces[0].attempts, &piece.attempts);
            let last = piece.last_attempt().unwrap();
            let is_with_the_service = last.fate == Fate::Taken && last.handle.is_some();
            prop_assert_eq!(matches!(pieces[0].state, PieceState::Awaiting { .. }), is_with_the_service);
            let may_be_under_way = matches!(last.fate, Fate::Open | Fate::Taken) && !is_with_the_service;
            prop_assert_eq!(pieces[0].state == PieceState::Sending, may_be_under_way, "found by `Restarted`");
        }
    }

    #[test]
    fn a_claim_is_as_its_golden_file_has_it() {
        let id = |number: u128| Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | number);
        let time = Timestamp::from_second(1_790_000_000).unwrap();
        let mut piece = Piece::new(1, Span::whole(Some(7)), "filetrans", "model");
        piece.attempts.push(Attempt::open(1, id(2), time, Some("object-1".into())));
        let job =
            Job { id: id(1), accepted_at: time, revision: 3, maybe_paid: true, ..job(Stage::Recognizing) };
        let ticket = Ticket { key: PLACE.into(), place: PLACE.into() };
        let claim = Claim { delivery: 2, ..Claim::of(&job, &[piece], &ticket, id(2)) };
        persisted::tests::assert_golden(&claim, "share/golden/claim.json");
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
