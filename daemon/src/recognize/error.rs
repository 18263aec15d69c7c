//! What can go wrong with a request, and what follows from it. The decision is made here, where the code is known; whoever
//! handles an [`Error`] reads it and never looks at a status.
//!
//! Three outcomes of a request that costs (RELIABILITY.md 4): *not sent* (the service cannot have had the whole request) is tried
//! again freely; *refused* (an answer with a code) is decided by `verdict`; *unknown* may have been taken and charged.
//! A gateway's 500, 502 or 503 without a code counts as refused, as the service's own SDK does, or an outage of some minutes would use up
//! every job's `ambiguous_retries`; but for a 503 it may have handed the request on, so a submit asks the task list first and every repeat
//! is marked. Its 504 counts as unknown: somebody was reached and may be at work. A task that failed and told a bill, and
//! a stream that fails after it told text or a bill, are unknown as well, whatever their code.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hark_sdk::event::{Blame, Fault};

use super::verdict::{Refusal, account, judge, misdirected};
use super::wording::{bounded, presentable};
use crate::job::{Consequence, Failure, Job};

/// A request that did not bring what it was made for.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.words())]
pub struct Error {
    /// For the event: the code, whose fault, a bounded message without keys, URL queries or transcript.
    pub fault: Fault,
    /// What follows.
    pub verdict: Verdict,
    /// `usage.seconds` heard before it failed.
    pub billed_seconds: u64,
    /// The service itself said so.
    pub(crate) answered: bool,
    /// A gateway said so, after it may have handed the request on.
    pub(crate) unsure: bool,
}

/// What follows from a failed request.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Another try would fail alike.
    GiveUp,
    /// The service cannot have taken it; another try is free and not the job's fault.
    NotSent,
    /// Refused for a reason that passes. `hint`: the service's own word on when; `at_most`: tries after which it will not have passed.
    Again { hint: Option<Duration>, at_most: Option<u32> },
    /// 429: the whole queue of the model waits. `after` is set by the queue.
    Throttled { hint: Option<Duration>, after: Duration },
    /// Key, arrears, rights, quota, or an address or model that is none: the queue of the model is closed. `after` and `announce` are set by
    /// the queue.
    Account { after: Duration, announce: bool },
    /// It may have been taken and charged.
    Unknown,
}

/// Tries of a job that failed so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tries {
    /// Of any kind; also those that cost nothing and say nothing of the job (429, an account that is held, a network that is down).
    pub failed: u32,
    /// Of these, those that were refused for a reason that passes.
    pub refused: u32,
}

impl Tries {
    /// Of this job.
    pub fn of(job: &Job) -> Tries {
        Tries { failed: job.attempts, refused: job.refusals }
    }
}

/// The code of an answer that cannot be read.
const UNREADABLE: &str = "UnreadableAnswer";

/// A service that refuses for reasons of its own is asked again after this long, doubling …
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// … up to this, so that an outage costs one request in five minutes and job.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// Not reaching the service costs nobody anything, so the return is noticed within a minute.
const LONGEST_UNSENT_BACKOFF: Duration = Duration::from_secs(60);

impl Error {
    /// When asking again makes sense, for a call that costs nothing (query, list, result); `None`: never.
    pub fn retry(&self) -> Option<Duration> {
        match &self.verdict {
            Verdict::GiveUp => None,
            Verdict::Again { hint, .. } => Some(hint.unwrap_or(FIRST_BACKOFF * 4)),
            Verdict::Throttled { after, .. } | Verdict::Account { after, .. } => Some(*after),
            Verdict::NotSent | Verdict::Unknown => Some(FIRST_BACKOFF * 4),
        }
    }

    /// For an event: code and message.
    pub(crate) fn told(&self) -> String {
        format!("{}: {}", self.fault.code, self.fault.message)
    }

    /// For a log: what the service itself says may quote the recording, and stands in the job's events only.
    fn words(&self) -> String {
        match self.answered {
            true => format!("{} (the job's events have the service's words)", self.fault.code),
            false => self.told(),
        }
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        self.fault.blame
    }

    /// What the job machine makes of it. `tries`: those of this job that failed before this one.
    pub fn into_failure(self, tries: Tries) -> Failure {
        // What was charged is not repeated as often as what was refused.
        let error = match self.billed_seconds {
            0 => self,
            told => self.after_work(told),
        };
        let consequence = match error.verdict {
            Verdict::GiveUp => Consequence::GiveUp,
            Verdict::Again { at_most: Some(limit), .. } if tries.refused + 1 >= limit => Consequence::GiveUp,
            Verdict::Again { hint, .. } => Consequence::Retry {
                // A hint that is always short would use up the budget of an hour's outage within seconds.
                after: backoff(tries.refused, LONGEST_BACKOFF, chance()).max(hint.unwrap_or_default()),
                counts: true,
            },
            Verdict::NotSent => Consequence::Retry {
                after: backoff(tries.failed, LONGEST_UNSENT_BACKOFF, chance()),
                counts: false,
            },
            Verdict::Throttled { after, .. } => Consequence::Retry { after, counts: false },
            Verdict::Account { after, announce } => Consequence::Hold { after, announce },
            Verdict::Unknown => Consequence::Unknown,
        };
        Failure { fault: error.fault, consequence, unsure: error.unsure }
    }

    /// The outcome's word in `hark_recognize_requests_total`.
    pub(crate) fn outcome(&self) -> &'static str {
        match self.verdict {
            Verdict::GiveUp if !self.answered => "unsent",
            Verdict::GiveUp | Verdict::Again { .. } | Verdict::Account { .. } => "refused",
            Verdict::Throttled { .. } => "throttled",
            Verdict::NotSent => "unsent",
            Verdict::Unknown => "unknown",
        }
    }

    /// An answer that refuses.
    pub(crate) fn refused(refusal: &Refusal<'_>) -> Error {
        let (verdict, blame) = judge(refusal);
        let code = match (refusal.code, refusal.status) {
            (Some(code), _) => bounded(code, 64),
            (None, Some(status)) => format!("HttpStatus{status}"),
            (None, None) => "NoCode".into(),
        };
        let message = match refusal.message.trim() {
            "" => "the service refused the request and said nothing more".to_owned(),
            message => presentable(message),
        };
        let message = match verdict {
            Verdict::Account { .. } => format!("{}; {}", message.trim_end_matches('.'), advice(&code)),
            _ => message,
        };
        // A 503 without a code says that nobody was there; any other may come after somebody was.
        let unsure =
            refusal.code.is_none() && refusal.status.is_some_and(|status| status >= 500 && status != 503);
        Error { answered: true, unsure, ..Error::new(fault(code, blame, message), verdict) }
    }

    /// The service cannot have had the whole request.
    pub(crate) fn not_sent(message: &str) -> Error {
        Error::new(fault("NotSent".into(), Blame::Service, presentable(message)), Verdict::NotSent)
    }

    /// The request left whole, and nobody knows what became of it.
    pub(crate) fn unknown(code: &str, message: &str) -> Error {
        Error::new(fault(code.into(), Blame::Service, presentable(message)), Verdict::Unknown)
    }

    /// An answer in which not all is where the protocol has it.
    pub(crate) fn unreadable(message: &str) -> Error {
        Error::unknown(UNREADABLE, message)
    }

    /// Whether it is of [`Error::unreadable`].
    pub(crate) fn is_unreadable(&self) -> bool {
        self.fault.code == UNREADABLE
    }

    /// A refusal that another try may not meet; of calls that cost nothing, or where the connection broke before the request was whole.
    pub(crate) fn again(code: &str, message: &str) -> Error {
        Error::new(
            fault(code.into(), Blame::Service, presentable(message)),
            Verdict::Again { hint: None, at_most: None },
        )
    }

    /// Another try would fail alike.
    pub(crate) fn give_up(fault: Fault) -> Error {
        Error::new(fault, Verdict::GiveUp)
    }

    fn new(fault: Fault, verdict: Verdict) -> Error {
        Error { fault, verdict, billed_seconds: 0, answered: false, unsure: false }
    }

    /// For calls that cost nothing: not knowing what became of one is no reason not to repeat it.
    pub(crate) fn of_a_free_call(mut self) -> Error {
        if self.verdict == Verdict::Unknown {
            self.verdict = Verdict::Again { hint: None, at_most: None };
        }
        self
    }

    /// The end of a request that the service was at work on, and told a bill of so many seconds for (or none). It may charge for what it
    /// told, whatever it says after; so another try is one of a request of unknown fate, for the account's sake too.
    pub(crate) fn after_work(self, billed_seconds: u64) -> Error {
        let verdict = match self.verdict {
            Verdict::GiveUp => Verdict::GiveUp,
            _ => Verdict::Unknown,
        };
        Error { verdict, unsure: true, billed_seconds, ..self }
    }

    /// A call of the queue whose address or model the service does not have: the queue is held, or every recording would fail for it. Free
    /// calls outside the queue may be refused so for themselves alone: not every service has a list of tasks.
    pub(crate) fn hold_if_misdirected(&mut self) {
        if self.verdict == Verdict::GiveUp
            && let Some(advice) = misdirected(&self.fault.code)
        {
            self.verdict = account();
            self.fault.message = format!("{}; {advice}", self.fault.message.trim_end_matches(['.', '?']));
        }
    }

    /// The same error, with what was heard of the bill before it.
    pub(crate) fn billed(mut self, seconds: u64) -> Error {
        self.billed_seconds = seconds;
        self
    }

    /// The key, should the service have echoed it, is not for an event.
    pub(crate) fn without(mut self, key: &str) -> Error {
        if !key.is_empty() && self.fault.message.contains(key) {
            self.fault.message = self.fault.message.replace(key, "***");
        }
        self
    }
}

pub(crate) fn fault(code: String, blame: Blame, message: String) -> Fault {
    Fault { code, blame, message, attempts: None }
}

/// 0.5 s · 2^attempt up to `longest`, of which the upper half is left to `chance` (0..1): tries that failed together part ways.
fn backoff(attempt: u32, longest: Duration, chance: f64) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(1 << attempt.min(20))
        .min(longest)
        .mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// A number in 0..1. The seed of a hasher is random enough to spread retries.
fn chance() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

/// What the operator can do about the refusal of an account; the service seldom says.
fn advice(code: &str) -> &'static str {
    match code {
        "InvalidApiKey" | "invalid_api_key" => "put a key of dashscope.region where the config looks for it",
        "Arrearage" | "PrepaidBillOverdue" | "PostpaidBillOverdue" | "CommodityNotPurchased" => {
            "settle the account's bills with the provider"
        }
        _ => "have the provider grant the account this model",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tried(refusals: u32) -> Tries {
        Tries { failed: refusals, refused: refusals }
    }

    fn refusal<'a>(status: u16, code: &'a str, message: &'a str) -> Refusal<'a> {
        Refusal { status: Some(status), code: Some(code), message, ..Refusal::default() }
    }

    #[test]
    fn an_echoed_key_is_masked_whatever_it_looks_like() {
        let error =
            Error::refused(&refusal(400, "InvalidParameter", "no such key: canary")).without("canary");
        assert_eq!(error.fault.message, "no such key: ***");
    }

    #[test]
    fn a_refused_account_is_told_what_to_do() {
        let error = Error::refused(&refusal(401, "InvalidApiKey", "Invalid API-key provided."));
        assert_eq!(
            error.fault.message,
            "Invalid API-key provided; put a key of dashscope.region where the config looks for it"
        );
    }

    #[test]
    fn a_refusal_that_passes_is_retried_within_its_budget_and_a_hint_is_obeyed() {
        let busy = Error::refused(&refusal(503, "ModelUnavailable", "busy"));
        let Consequence::Retry { after, counts: true } = busy.clone().into_failure(tried(3)).consequence
        else {
            panic!("not a counted retry")
        };
        assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&after), "{after:?}");
        let hinted =
            Refusal { hint: Some(Duration::from_secs(7)), ..refusal(503, "ModelUnavailable", "busy") };
        assert_eq!(
            Error::refused(&hinted).into_failure(tried(3)).consequence,
            Consequence::Retry { after: Duration::from_secs(7), counts: true }
        );
    }

    #[test]
    fn a_short_hint_does_not_use_up_the_budget_of_an_outage() {
        let hinted =
            Refusal { hint: Some(Duration::from_secs(1)), ..refusal(503, "ModelUnavailable", "busy") };
        let Consequence::Retry { after: wait, .. } =
            Error::refused(&hinted).into_failure(tried(9)).consequence
        else {
            panic!("not a retry")
        };
        assert!(wait >= Duration::from_secs(120), "{wait:?}");
    }

    #[test]
    fn tries_that_say_nothing_of_the_job_use_up_nothing() {
        let throttled_often = Tries { failed: 20, refused: 0 };
        let busy = Error::refused(&refusal(503, "ModelUnavailable", "busy"));
        let Consequence::Retry { after, .. } = busy.into_failure(throttled_often).consequence else {
            panic!("not a retry")
        };
        assert!(after <= FIRST_BACKOFF, "{after:?}");
        let slow = Error::refused(&refusal(400, "InvalidParameter", "Download the media resource timed out"));
        assert!(matches!(slow.into_failure(throttled_often).consequence, Consequence::Retry { .. }));
    }

    #[test]
    fn what_was_not_sent_is_retried_for_ever_and_at_least_every_minute() {
        let Consequence::Retry { after, counts: false } =
            Error::not_sent("connection refused").into_failure(tried(1_000)).consequence
        else {
            panic!("not a free retry")
        };
        assert!((Duration::from_secs(30)..=Duration::from_secs(60)).contains(&after), "{after:?}");
    }

    #[test]
    fn a_download_time_out_is_tried_a_few_times_only() {
        let error =
            Error::refused(&refusal(400, "InvalidParameter", "Download the media resource timed out"));
        assert!(matches!(
            error.clone().into_failure(tried(0)).consequence,
            Consequence::Retry { counts: true, .. }
        ));
        assert_eq!(error.into_failure(tried(4)).consequence, Consequence::GiveUp);
    }

    #[test]
    fn an_unknown_fate_is_no_reason_to_give_up_a_call_that_costs_nothing() {
        let error = Error::unknown("TimeOut", "no answer");
        assert_eq!(error.clone().into_failure(tried(0)).consequence, Consequence::Unknown);
        assert!(matches!(
            error.of_a_free_call().into_failure(tried(0)).consequence,
            Consequence::Retry { .. }
        ));
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
