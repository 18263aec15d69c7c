//! The claim: what the daemons that share a stream tell each other about a message's job. Pure.

use hark_sdk::event::Recording;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::hex::hex;
use crate::job::{Attempt, Fate, Job, Paid, Piece, PieceState, Plan, Span, Stage, Ticket, paid};

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
    /// The operator has canceled the job: a daemon that takes it over ends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    canceled: bool,
    /// Highest revision that a partial may have had when the claim was written.
    revision: u64,
    plan: Option<Plan>,
    /// What the probe found out about the recording.
    measured: Measured,
    /// The pieces with an attempt that may have cost something, of a recording that is not cut here.
    pieces: Vec<ClaimedPiece>,
    /// The same for a recording that is cut here: runs of piece numbers with the fates of their attempts.
    paid: Vec<Paid>,
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
pub enum ClaimState {
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
pub fn judge(claim: Option<&Claim>, me: Uuid, place: &str, delivery: i64) -> ClaimState {
    match claim {
        None => ClaimState::New,
        Some(claim) if claim.ended => ClaimState::Over,
        Some(claim) if claim.owner == me => ClaimState::Mine,
        Some(claim) if claim.place != place => ClaimState::Wait,
        // A daemon that was stopped for a while finds deliveries in its buffers whose messages were redelivered to other daemons since.
        Some(claim) if delivery <= claim.delivery => ClaimState::Stale,
        Some(_) => ClaimState::TakeOver,
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
        claim.copy_state(job, pieces);
        claim
    }

    /// Copies the state of the job and its pieces into the claim, but not the transcript: a daemon that takes the job over before its final is
    /// stored has to ask the recognizer again.
    pub fn copy_state(&mut self, job: &Job, pieces: &[Piece]) {
        self.job = job.id;
        self.accepted_at = job.accepted_at;
        self.ended = matches!(job.stage, Stage::Stored { .. } | Stage::Settled { .. });
        self.canceled = job.canceled;
        self.revision = job.revision;
        self.plan.clone_from(&job.plan);
        self.maybe_paid = job.maybe_paid;
        let recording = &job.recording;
        self.measured = Measured {
            format: recording.format.clone(),
            duration_ms: recording.duration_ms,
            channels: recording.channels,
        };
        (self.pieces, self.paid) = (Vec::new(), Vec::new());
        if self.ended {
            return;
        }
        // A daemon that takes over cuts the recording at the same places, so numbers and fates are enough: hundreds of pieces take a few
        // kilobytes. The texts of those that were heard are read from the stream.
        match &job.plan {
            Some(Plan { cut: Some(_), .. }) => self.paid = paid::paid(&job.paid, pieces),
            _ => {
                let may_have_cost = pieces.iter().filter(|piece| piece.may_have_cost());
                self.pieces = may_have_cost.map(ClaimedPiece::of).collect();
            }
        }
    }

    /// Brings `job`, made anew from the message, to the state that the claim describes; returns the job and its pieces. The caller writes
    /// both to the ledger and then reports `Restarted` to the piece machine: the former owner may still send an attempt that is open here.
    pub fn resume(&self, mut job: Job) -> (Job, Vec<Piece>) {
        job.accepted_at = self.accepted_at;
        job.canceled = self.canceled;
        job.revision = self.revision;
        job.maybe_paid = self.maybe_paid;
        let may_have_cost = !self.pieces.is_empty() || !self.paid.is_empty();
        let Some(plan) = self.plan.clone().filter(|_| may_have_cost) else {
            // No attempt may have cost anything: the job is planned anew.
            return (job, Vec::new());
        };
        let Measured { format, duration_ms, channels } = self.measured.clone();
        job.recording = Recording { format, duration_ms, channels, ..job.recording };
        job.stage = match plan.is_surveyed() {
            // The recording is listened to again from its begin.
            true => Stage::Cutting { to_ms: 0, pieces: 0 },
            false => Stage::Recognizing,
        };
        job.plan = Some(plan);
        let known = self.pieces.iter().map(|piece| piece.number).chain(self.paid.iter().map(|run| run.last));
        job.pieces = known.max().unwrap_or(0);
        let of_pieces = self.pieces.iter().flat_map(|piece| &piece.attempts).map(|attempt| attempt.fate);
        let mut fates = of_pieces.chain(self.paid.iter().flat_map(|run| run.fates.iter().copied()));
        job.submitted = fates.any(|fate| fate == Fate::Taken);
        job.paid.clone_from(&self.paid);
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
mod tests;
