//! A piece: what one request to a recognizer carries, a span of time on some channels of a recording.

use hark_sdk::event::Fault;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Attempt, Duty, Halves, Transcript};

/// The id of a piece: its job, and its number within the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceId {
    pub job: Uuid,
    /// 1, 2, … in the order of time.
    pub number: u32,
}

impl std::fmt::Display for PieceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.job, self.number)
    }
}

/// The most channels of a recording that are recognized each by itself.
pub const MOST_CHANNELS: u32 = 16;

/// The part of a recording that a piece carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Channels of the recording, from 0; the mixed channels are channel 0.
    pub channels: Vec<u32>,
    /// Begin, in milliseconds from the recording's begin.
    pub begin_ms: u64,
    /// End, in milliseconds from the recording's begin; `None`: the recording's end, if its length is not known.
    pub end_ms: Option<u64>,
    /// The time map: begin and end of each part that is sent, in milliseconds of the recording, one part right behind the other; what lies
    /// between them is silence that is left out. Empty: all is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<(u64, u64)>,
}

impl Span {
    /// A part of the recording, its channels mixed.
    pub fn part(begin_ms: u64, end_ms: u64) -> Span {
        Span { channels: vec![0], begin_ms, end_ms: Some(end_ms), parts: Vec::new() }
    }

    /// Milliseconds of what is sent on each channel, if that is known.
    pub fn sent_ms(&self) -> Option<u64> {
        match &self.parts[..] {
            [] => self.end_ms.map(|end| end.saturating_sub(self.begin_ms)),
            parts => Some(parts.iter().map(|(begin, end)| end.saturating_sub(*begin)).sum()),
        }
    }

    /// What is sent, part by part: begin and end in milliseconds of the recording.
    pub fn sent(&self) -> Vec<(u64, u64)> {
        match &self.parts[..] {
            [] => vec![(self.begin_ms, self.end_ms.unwrap_or(self.begin_ms))],
            parts => parts.to_vec(),
        }
    }

    /// The part of it from `from` to `to`, in milliseconds of what is sent.
    pub fn slice(&self, from: u64, to: u64) -> Span {
        let (begin_ms, end_ms) = (self.begins_at(from), self.ends_at(to));
        let within = |(begin, end): &(u64, u64)| {
            let (begin, end) = ((*begin).max(begin_ms), (*end).min(end_ms));
            (begin < end).then_some((begin, end))
        };
        let parts = self.parts.iter().filter_map(within).collect();
        Span { channels: self.channels.clone(), begin_ms, end_ms: Some(end_ms), parts }
    }

    /// Maps a time span that a recognizer reports, `begin` to `end` milliseconds of the sent audio, to the recording. Recognizers' times are off
    /// by some tenths of a second. So a span that reaches only slightly over a place where two parts meet lies on one side of the silence that
    /// is left out there.
    pub fn placed(&self, begin: u64, end: u64) -> (u64, u64) {
        const SLACK: u64 = 250;
        let is_slack = |over: u64, rest: u64| over < SLACK && over < rest;
        let (mut from, mut to, mut joint) = (begin, end, 0);
        for (part_begin, part_end) in &self.parts {
            joint += part_end.saturating_sub(*part_begin);
            if begin >= joint || joint >= end {
                continue;
            }
            if is_slack(joint - begin, end - joint) {
                from = joint;
            } else if is_slack(end - joint, joint - begin) {
                to = to.min(joint);
            }
        }
        (self.begins_at(from), self.ends_at(to))
    }

    /// When something begins in the recording that begins `time` milliseconds after what is sent begins. Where two parts meet, it begins
    /// with the second one.
    pub fn begins_at(&self, time: u64) -> u64 {
        self.at(time, |time, length| time < length)
    }

    /// When something ends in the recording that ends `time` milliseconds after what is sent begins. Where two parts meet, it ends with the
    /// first one.
    pub fn ends_at(&self, time: u64) -> u64 {
        self.at(time, |time, length| time <= length)
    }

    fn at(&self, mut time: u64, is_within: impl Fn(u64, u64) -> bool) -> u64 {
        let Some((last, others)) = self.parts.split_last() else { return self.begin_ms + time };
        for (begin, end) in others {
            let length = end.saturating_sub(*begin);
            if is_within(time, length) {
                return begin + time;
            }
            time -= length;
        }
        last.0 + time
    }

    /// The whole recording, its channels mixed.
    pub fn whole(duration_ms: Option<u64>) -> Span {
        Span { channels: vec![0], begin_ms: 0, end_ms: duration_ms, parts: Vec::new() }
    }
}

/// What the ledger holds of a piece. Its attempts and its transcript are stored in columns and rows of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// 1, 2, … within its job.
    pub number: u32,
    /// What it carries.
    pub span: Span,
    /// Name of the recognizer that it is sent to.
    pub recognizer: String,
    /// The recognizer's model.
    pub model: String,
    /// Its state.
    pub state: PieceState,
    /// Tries that failed so far, of any kind. The number of the next try in events follows from it, and the backoff grows with it.
    pub failures: u32,
    /// How many of these were refusals before a request (of an upload). They count against the same budget as refused attempts.
    pub refused_before_sending: u32,
    /// It is asked for once more, in halves; `None` also once it has ended.
    pub halves: Option<Halves>,
    /// Every attempt that may have cost something or was refused, oldest first.
    #[serde(skip)]
    pub attempts: Vec<Attempt>,
    /// The transcript, or the first answer of a piece that is asked for in halves; erased once the job's last event is acknowledged.
    #[serde(skip)]
    pub heard: Option<Transcript>,
}

/// The state of a piece.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum PieceState {
    /// It waits for a permit of its recognizer, or for the time of its next attempt.
    #[default]
    Queued,
    /// The intent is on disk: the request of its last attempt may have left.
    Sending,
    /// It is not known whether the recognizer took the last attempt; the recognizer's list of tasks can tell.
    Resolving {
        /// How often the list did not contain the attempt's task.
        absences: u32,
        /// When the daemon gave the attempt up: a task that was made later belongs to another attempt. `None`: another daemon may still
        /// send the attempt.
        until: Option<Timestamp>,
        /// Why the attempt's fate is not known.
        fault: Fault,
    },
    /// The recognizer works on it under the last attempt's handle.
    Awaiting {
        /// How many warnings the events contain that the result could not be fetched yet and will be deleted.
        warned: u32,
    },
    /// Its transcript is stored and passes through the plugins before any of it leaves the daemon.
    Piping {
        /// A former owner published it, after its transforms: only what plugins emit about it may be missing.
        published: bool,
    },
    /// Its transcript is stored.
    Heard,
    /// It failed for good.
    Failed { fault: Fault },
}

impl PieceState {
    /// The duty owed to a piece in this state; `None`: the piece has ended.
    pub fn duty(&self) -> Option<Duty> {
        match self {
            // `Sending` is included so that a request that a crash interrupted is found at the start (`PieceFact::Restarted`). Until then
            // the piece belongs to the task that sends it.
            PieceState::Queued | PieceState::Sending => Some(Duty::Send),
            PieceState::Resolving { .. } => Some(Duty::Resolve),
            PieceState::Awaiting { .. } => Some(Duty::Await),
            PieceState::Piping { .. } => Some(Duty::Pipe),
            PieceState::Heard | PieceState::Failed { .. } => None,
        }
    }
}

impl Piece {
    /// A piece that waits for its first attempt.
    pub fn new(number: u32, span: Span, recognizer: &str, model: &str) -> Piece {
        Piece { number, span, recognizer: recognizer.to_owned(), model: model.to_owned(), ..Piece::default() }
    }

    /// What its next request carries: the piece, or one of its halves.
    pub fn asked_for(&self) -> &Span {
        self.halves.as_ref().and_then(Halves::next).unwrap_or(&self.span)
    }

    /// The attempt that is under way, or the last one.
    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// How many refusals count against the budget of refusals.
    pub fn refusals(&self) -> u32 {
        let refused = self.attempts.iter().filter(|attempt| attempt.fate.is_refusal()).count();
        self.refused_before_sending + u32::try_from(refused).unwrap_or(u32::MAX)
    }

    /// Whether an attempt may have cost something: then the piece keeps its plan.
    pub fn may_have_cost(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.fate.may_have_cost())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_mapped_to_the_part_that_they_lie_in() {
        let span = Span { parts: vec![(100, 200), (500, 600)], ..Span::part(100, 600) };
        assert_eq!(span.sent_ms(), Some(200));
        for (time, begins, ends) in
            [(0, 100, 100), (99, 199, 199), (100, 500, 200), (101, 501, 501), (200, 600, 600)]
        {
            assert_eq!((span.begins_at(time), span.ends_at(time)), (begins, ends), "{time}");
        }
        let half = Span { parts: vec![(150, 200), (500, 580)], ..Span::part(150, 580) };
        assert_eq!(span.slice(50, 180), half);
        let whole = Span::part(100, 600);
        assert_eq!(whole.slice(50, 180), Span::part(150, 280));
        assert_eq!((whole.begins_at(7), whole.ends_at(7), whole.sent_ms()), (107, 107, Some(500)));
    }

    #[test]
    fn what_reaches_a_little_over_a_joint_lies_on_its_other_side() {
        let span = Span {
            parts: vec![(1_000, 4_000), (9_000, 12_000), (20_000, 23_000)],
            ..Span::part(1_000, 23_000)
        };
        for (heard, lies) in [
            ((0, 3_000), (1_000, 4_000)),
            ((2_900, 5_000), (9_000, 11_000)),
            ((500, 3_200), (1_500, 4_000)),
            ((2_800, 6_200), (9_000, 12_000)),
            ((2_500, 5_000), (3_500, 11_000)),
            ((2_950, 3_020), (3_950, 4_000)),
            ((5_990, 6_400), (20_000, 20_400)),
        ] {
            assert_eq!(span.placed(heard.0, heard.1), lies, "{heard:?}");
        }
        assert_eq!(Span::part(100, 600).placed(7, 20), (107, 120));
    }

    proptest! {
        #[test]
        fn each_millisecond_that_is_sent_is_found_where_it_was(
            lengths in prop::collection::vec((1_u64..50, 1_u64..50), 1..20), begin in 0_u64..1_000,
        ) {
            let (mut at, mut parts) = (begin, Vec::new());
            for (length, pause) in lengths {
                parts.push((at, at + length));
                at += length + pause;
            }
            let span = Span { parts: parts.clone(), ..Span::part(begin, parts.last().unwrap().1) };
            let sent: Vec<u64> = parts.iter().flat_map(|(begin, end)| *begin..*end).collect();
            prop_assert_eq!(span.sent_ms(), Some(sent.len() as u64));
            for (time, place) in (0..).zip(sent) {
                prop_assert_eq!((span.begins_at(time), span.ends_at(time + 1)), (place, place + 1));
            }
        }
    }
}
