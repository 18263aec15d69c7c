//! Whether a source takes messages in, as its recent requests have shown.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::broker::acknowledgement::RIGHT;

/// This many refused requests in a row are reported. One alone may be an accident: a consumer that is created again, or gets another
/// leader, refuses one.
const REFUSED: u32 = 3;

/// Backoff before the consumer is looked up again after the first refusal, and its limit after many.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the recent requests of a source have shown.
pub(super) struct Health {
    ack_wait: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When a message was left for redelivery, and why.
    left: Option<(Instant, String)>,
    /// When the server refused an acknowledgement, and why.
    unacknowledged: Option<(Instant, String)>,
    /// Requests in a row that the server refused, and its reason for the last of them.
    refused: u32,
    refusal: String,
}

impl Health {
    pub(super) fn new(ack_wait: Duration) -> Self {
        Health { ack_wait, state: Mutex::default() }
    }

    /// Notes whether a message was taken in; if not, it is left for redelivery, with the reason.
    pub(super) fn taken(&self, outcome: Result<(), String>) {
        self.state.lock().left = outcome.err().map(|reason| (Instant::now(), reason));
    }

    /// Notes whether the server accepted an acknowledgement.
    pub(super) fn acknowledged(&self, outcome: Result<(), String>) {
        self.state.lock().unacknowledged = outcome.err().map(|reason| (Instant::now(), reason));
    }

    /// Notes that the server accepted a request for a message.
    pub(super) fn accepted(&self) {
        self.state.lock().refused = 0;
    }

    /// Notes that the server refused a request for a message. Returns the backoff.
    pub(super) fn refused(&self, reason: &str) -> Duration {
        let mut state = self.state.lock();
        let pause = (PAUSE * (1 << state.refused.min(10))).min(LONGEST_PAUSE);
        state.refused = state.refused.saturating_add(1);
        reason.clone_into(&mut state.refusal);
        pause
    }

    /// Whether messages arrive, are taken in, and can be acknowledged. The server redelivers a message that was left or not acknowledged
    /// within `ack_wait`: a trouble that has not come again for twice that time is over.
    pub(super) fn state(&self) -> Result<(), String> {
        let state = self.state.lock();
        let recent = |trouble: &Option<(Instant, String)>| {
            let (at, reason) = trouble.as_ref()?;
            (at.elapsed() < 2 * self.ack_wait).then(|| reason.clone())
        };
        if let Some(reason) = recent(&state.left) {
            return Err(format!("messages are left for redelivery: {reason}"));
        }
        if let Some(reason) = recent(&state.unacknowledged) {
            return Err(format!(
                "acknowledgements of messages are not confirmed ({reason}); see whether the user may publish to {RIGHT}"
            ));
        }
        if state.refused >= REFUSED {
            let reason = &state.refusal;
            return Err(format!(
                "the server refuses requests for messages ({reason}); see its consumer and the user's rights"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK_WAIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_request_that_is_refused_may_be_an_accident_and_many_are_none() {
        let health = Health::new(ACK_WAIT);
        let pauses: Vec<u128> = (0..6).map(|_| health.refused("409 Consumer Deleted").as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 5_000]);
        assert!(health.state().unwrap_err().contains("409 Consumer Deleted"));
        health.accepted();
        assert_eq!(health.state(), Ok(()));
        health.refused("409 Leadership Change");
        assert_eq!(health.state(), Ok(()));
    }

    #[test]
    fn a_message_that_is_left_is_reported_until_one_is_taken_in_or_another_daemon_has_it() {
        let health = Health::new(ACK_WAIT);
        health.taken(Err("the bucket does not answer".into()));
        assert!(health.state().unwrap_err().ends_with("redelivery: the bucket does not answer"));
        health.taken(Ok(()));
        assert_eq!(health.state(), Ok(()));
        health.state.lock().left = Some((Instant::now() - 3 * ACK_WAIT, "long ago".into()));
        assert_eq!(health.state(), Ok(()));
    }
}
