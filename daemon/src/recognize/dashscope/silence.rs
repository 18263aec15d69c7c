//! How long the task list was reached without a usable answer: after that, the fate of a lost submit counts as unknown.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::job::Fate;
use crate::recognize::error::{Error, When};

/// If the list answers with nothing but refusals of its own for this long, the daemon treats it as absent.
pub(super) const LONGEST: Duration = Duration::from_secs(180);

/// Since when the list was reached without a usable answer.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Option<Instant>>);

impl Silence {
    /// Records the outcome of a look, and returns how long the silence has lasted. A network that is down, a bad key, a bill and a full
    /// queue are temporary, and the list answers afterwards. The right to read the list may never be granted, and nothing else may need it.
    pub(super) fn after(&self, error: Option<&Error>) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = |error: &Error| match error.when {
            When::Held { .. } => !is_right(&error.fault.code),
            When::Throttled { .. } => true,
            _ => error.fate == Fate::NotSent,
        };
        if error.is_none_or(passes) {
            *since = None;
            return Duration::ZERO;
        }
        since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// Whether this code refuses the account for a missing right.
fn is_right(code: &str) -> bool {
    code.contains("AccessDenied") || code == "HttpStatus403"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::dashscope::codes::Refusal;

    #[test]
    fn only_a_list_that_was_reached_and_does_not_tell_is_given_up() {
        let silence = Silence::default();
        let broken = Error::open("NoAnswer", "");
        assert!(silence.after(Some(&broken)) < Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(20));
        assert!(silence.after(Some(&broken)) >= Duration::from_millis(20));
        assert_eq!(silence.after(Some(&Error::not_sent(""))), Duration::ZERO);
        assert!(silence.after(Some(&broken)) < Duration::from_millis(20), "it begins anew");
        let refused = |status: u16, code: &str| {
            Refusal { status: Some(status), code: Some(code), ..Refusal::default() }.into_error()
        };
        assert_eq!(silence.after(Some(&refused(401, "InvalidApiKey"))), Duration::ZERO);
        silence.after(Some(&refused(403, "AccessDenied")));
        std::thread::sleep(Duration::from_millis(20));
        assert!(silence.after(Some(&refused(403, "AccessDenied"))) >= Duration::from_millis(20));
        assert_eq!(silence.after(None), Duration::ZERO);
    }
}
