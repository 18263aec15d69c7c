//! Why a request failed. An [`Error`] answers two questions, and the loop that sends requests reads nothing else: the fate of this attempt
//! ([`Error::fate`]), and when another attempt may follow ([`Error::next`]).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hark_sdk::event::{Blame, Fault, Usage};

use super::message::presentable;
use crate::job::{Fate, Next, fault};

/// The failure of a request.
///
/// The fates of a request that costs:
/// - `NotSent`: the service cannot have received the whole request.
/// - `Refused`: the service refused it and does not bill it.
/// - `MaybeForwarded`: a gateway refused it and may have forwarded it before. [`super::Recognizer::resolve`] may find out.
/// - `Open`: it was sent and no usable answer came. [`super::Recognizer::resolve`] may find out.
/// - `Taken`: the service did the work, bills it, and the daemon does not have the text. Another attempt is paid again.
/// - `Unknown`: its fate cannot be found out any more.
///
/// `Absent` never occurs in an error. A poll or a fetch that fails leaves the task unchanged.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.for_log())]
pub struct Error {
    /// For the event: the code, who has to act, a bounded message without keys, URL queries or transcript.
    pub fault: Fault,
    /// The fate of the attempt.
    pub fate: Fate,
    /// The charge that the service reported before it failed. In a box, as most errors have none.
    pub billed: Box<Usage>,
    /// The answer that could not be read, as far as it arrived: it is paid for, and may contain the text.
    pub raw: Option<Box<[u8]>>,
    pub(crate) when: When,
    /// The fault's message is the service's own text.
    pub(crate) answered: bool,
}

/// Attempts of a piece that failed so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tries {
    /// Failures of any kind, also free ones that do not concern the piece (429, an account that is held, a network that is down).
    pub failed: u32,
    /// Of these, the refusals for a temporary reason.
    pub refused: u32,
}

/// What decides when another attempt may follow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum When {
    Never,
    /// When the network reaches the service again.
    Reachable,
    /// When the reason has passed. `hint`: the time that the service named; `at_most`: attempts after which it will not have passed.
    Passed {
        hint: Option<Duration>,
        at_most: u32,
    },
    /// 429: the whole queue waits. `wait`: the time that the service named, until the pacer sets it.
    Throttled {
        wait: Option<Duration>,
    },
    /// Key, arrears, rights, quota: the queue is closed. The pacer sets `wait` and `announce`.
    Held {
        wait: Duration,
        announce: bool,
    },
}

/// No limit of attempts: the reason always passes in the end.
pub(crate) const ALWAYS: u32 = u32::MAX;

impl When {
    pub(crate) const PASSED: When = When::Passed { hint: None, at_most: ALWAYS };
    /// The pacer sets how long.
    pub(crate) const HELD: When = When::Held { wait: UNPACED, announce: false };
}

/// The code of an answer that cannot be read.
const UNREADABLE: &str = "UnreadableAnswer";

/// The most of an unreadable answer that is kept with the attempt.
pub(crate) const LONGEST_RAW: usize = 256 << 10;

/// The first wait after the service refuses for reasons of its own; it doubles …
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// … up to this, so that an outage costs one request in five minutes for each piece.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// The wait after a 429 that no pacer received.
const UNPACED: Duration = Duration::from_secs(2);
/// A failure to reach the service costs nothing, so the wait is shorter: the service's return is noticed within a minute.
const LONGEST_UNSENT_BACKOFF: Duration = Duration::from_secs(60);

impl Error {
    /// When another attempt may follow. `tries`: the attempts of this piece that failed before this one. For an attempt that is `Open`,
    /// `Taken` or `Unknown`, `ambiguous_retries` decides whether another one may follow at all.
    pub fn next(&self, tries: Tries) -> Next {
        match self.when {
            When::Never => Next::Never,
            When::Reachable => {
                let wait = backoff(tries.failed, LONGEST_UNSENT_BACKOFF, chance());
                Next::After { wait, counts: false }
            }
            When::Passed { at_most, .. } if tries.refused.saturating_add(1) >= at_most => Next::Never,
            When::Passed { hint, .. } => {
                // A hint that is always short would use up the attempts of an hour's outage within seconds.
                let wait = backoff(tries.refused, LONGEST_BACKOFF, chance()).max(hint.unwrap_or_default());
                Next::After { wait, counts: true }
            }
            When::Throttled { wait } => Next::After { wait: wait.unwrap_or(UNPACED), counts: false },
            When::Held { wait, announce } => Next::Held { wait, announce },
        }
    }

    /// For an event: code and message.
    pub fn for_event(&self) -> String {
        format!("{}: {}", self.fault.code, self.fault.message)
    }

    /// For a log: the service's own message may quote the recording, and is published in the job's events only.
    fn for_log(&self) -> String {
        match self.answered {
            true => format!("{} (the job's events have the service's words)", self.fault.code),
            false => self.for_event(),
        }
    }

    pub(crate) fn new(fault: Fault, fate: Fate, when: When) -> Error {
        Error { fault, fate, when, billed: Box::default(), raw: None, answered: false }
    }

    /// Another attempt would fail in the same way, and this one was not sent.
    pub(crate) fn give_up(fault: Fault) -> Error {
        Error::new(fault, Fate::NotSent, When::Never)
    }

    /// The service was not reached.
    pub(crate) fn not_sent(message: &str) -> Error {
        Error::new(service("NotSent", message), Fate::NotSent, When::Reachable)
    }

    /// The whole request was sent, and no usable answer came.
    pub(crate) fn open(code: &str, message: &str) -> Error {
        Error::new(service(code, message), Fate::Open, When::PASSED)
    }

    /// An answer that deviates from the protocol.
    pub(crate) fn unreadable(message: &str) -> Error {
        Error::open(UNREADABLE, message)
    }

    /// An answer that is no JSON of the expected shape. `what`: without the parser's message, which could quote the transcript.
    pub(crate) fn not_parsed(what: &str, error: &serde_json::Error) -> Error {
        Error::unreadable(&format!("{what} (line {} column {})", error.line(), error.column()))
    }

    /// Whether this error was made by [`Error::unreadable`].
    pub(crate) fn is_unreadable(&self) -> bool {
        self.fault.code == UNREADABLE
    }

    /// The failure of a request that the service was processing, with the charge that it reported. The service may charge
    /// for the work it did, whatever it reports afterwards.
    pub(crate) fn after_work(self, billed: Usage) -> Error {
        let when = match self.when {
            When::Never => When::Never,
            _ => When::PASSED,
        };
        Error { fate: Fate::Taken, when, billed: Box::new(billed), ..self }
    }

    /// The same error, with the answer that could not be read, as far as it arrived.
    pub(crate) fn with_raw(mut self, mut raw: Vec<u8>) -> Error {
        if !raw.is_empty() {
            raw.truncate(LONGEST_RAW);
            self.raw = Some(raw.into());
            self.fault.message.push_str("; the raw answer is kept with the attempt");
        }
        self
    }

    /// The outcome's label in `hark_recognize_requests_total`.
    pub(crate) fn outcome(&self) -> &'static str {
        match (self.fate, &self.when) {
            (Fate::NotSent, _) => "unsent",
            (Fate::Open | Fate::Taken | Fate::Unknown, _) => "unknown",
            (_, When::Throttled { .. }) => "throttled",
            _ => "refused",
        }
    }
}

fn service(code: &str, message: &str) -> Fault {
    fault(code, Blame::Service, presentable(message))
}

/// 0.5 s · 2^attempt up to `longest`, of which the upper half is multiplied by `chance` (0..1), so that attempts that failed together are
/// not repeated together.
fn backoff(attempt: u32, longest: Duration, chance: f64) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(1 << attempt.min(20))
        .min(longest)
        .mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// A number in 0..1. The seed of a hasher is random enough to spread attempts.
fn chance() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(hint: Option<u64>, at_most: u32) -> Error {
        let when = When::Passed { hint: hint.map(Duration::from_secs), at_most };
        Error::new(service("Busy", "busy"), Fate::Refused, when)
    }

    fn wait(error: &Error, tries: Tries) -> (Duration, bool) {
        match error.next(tries) {
            Next::After { wait, counts } => (wait, counts),
            other => panic!("{other:?}"),
        }
    }

    fn tries(refused: u32) -> Tries {
        Tries { failed: refused, refused }
    }

    #[test]
    fn a_reason_that_passes_is_waited_for_and_a_hint_is_obeyed() {
        let (after, counts) = wait(&refused(None, ALWAYS), tries(3));
        assert!(counts && (2 * SECOND..=4 * SECOND).contains(&after), "{after:?}");
        assert_eq!(wait(&refused(Some(7), ALWAYS), tries(3)), (7 * SECOND, true));
    }

    #[test]
    fn a_short_hint_does_not_use_up_the_attempts_of_an_outage() {
        let (after, _) = wait(&refused(Some(1), ALWAYS), tries(9));
        assert!(after >= 120 * SECOND, "{after:?}");
    }

    #[test]
    fn attempts_that_say_nothing_of_the_piece_use_up_nothing() {
        let throttled_often = Tries { failed: 20, refused: 0 };
        assert!(wait(&refused(None, ALWAYS), throttled_often).0 <= FIRST_BACKOFF);
        assert!(wait(&refused(None, 4), throttled_often).1);
    }

    #[test]
    fn what_was_not_sent_is_repeated_for_ever_and_at_least_every_minute() {
        let (after, counts) = wait(&Error::not_sent("connection refused"), tries(1_000));
        assert!(!counts && (30 * SECOND..=60 * SECOND).contains(&after), "{after:?}");
    }

    #[test]
    fn a_reason_that_passes_a_few_times_only_is_none_after_that() {
        assert!(wait(&refused(None, 4), tries(2)).1);
        assert_eq!(refused(None, 4).next(tries(3)), Next::Never);
    }

    #[test]
    fn what_fails_after_the_work_was_begun_is_taken() {
        let throttled = When::Throttled { wait: Some(SECOND) };
        let error =
            Error::new(service("Throttling", ""), Fate::Refused, throttled).after_work(Usage::seconds(7));
        assert_eq!((error.fate, error.billed.seconds), (Fate::Taken, 7));
        assert!(wait(&error, tries(0)).1);
        let moderated = Error::new(service("DataInspectionFailed", ""), Fate::Refused, When::Never);
        assert_eq!(moderated.after_work(Usage::default()).next(tries(0)), Next::Never);
    }

    proptest! {
        #[test]
        fn backoff_grows_and_stays_within_its_bound(attempt in 0_u32..2_000, chance in 0.0..1.0_f64) {
            let wait = backoff(attempt, LONGEST_BACKOFF, chance);
            prop_assert!(wait >= FIRST_BACKOFF / 2 && wait <= LONGEST_BACKOFF);
            prop_assert!(backoff(attempt, LONGEST_BACKOFF, 0.0) <= backoff(attempt + 1, LONGEST_BACKOFF, 0.0));
        }
    }
}
