//! Decides how many messages to ask for at a time, and whether the server delivers messages at all.

use std::time::{Duration, Instant};

use crate::telemetry::OnceAMinute;

/// The most messages asked for at a time: their payloads are in memory until they are spooled.
const MOST: usize = 16;

/// A message that takes longer than this to take in shows a slow link, on which the bucket's answer waits behind the payloads of the next
/// messages, or a slow disk. Well below the time that the bucket has to answer, and far below `ack_wait`, after which the server would
/// redeliver all messages of the request, again and again.
const SLOW: Duration = Duration::from_secs(1);

/// This many requests in a row without a message, while messages wait in the stream, are reported. One alone may be an accident: a message
/// may arrive just after the request has ended.
const STARVED: u32 = 2;

/// This many refused requests in a row are reported. One alone may be an accident: a consumer that is created again, or gets another
/// leader, refuses one.
const REFUSED: u32 = 3;

/// Backoff before the consumer is looked up again after the first refusal, and its limit after many.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the recent requests to one source's consumer have shown.
#[derive(Debug)]
pub(super) struct Flow {
    at_a_time: usize,
    /// The longest time that a message has taken to be taken in since the last request.
    slowest: Option<Duration>,
    /// When a message was left for redelivery, and why.
    left: Option<(Instant, String)>,
    /// Requests in a row that brought nothing while messages waited.
    starved: u32,
    /// Requests in a row that the server refused, and its reason for the last of them.
    refused: u32,
    refusal: String,
    said: OnceAMinute,
    /// The least bytes to ask for, raised after a message was larger than the bytes of its request.
    least_bytes: usize,
    /// Whether messages may have been lost on the way to this daemon.
    suspicion: bool,
    ack_wait: Duration,
}

impl Flow {
    pub(super) fn new(ack_wait: Duration) -> Self {
        // Begins with one message: the link may be slow.
        Flow {
            at_a_time: 1,
            slowest: None,
            left: None,
            starved: 0,
            refused: 0,
            refusal: String::new(),
            said: OnceAMinute::default(),
            least_bytes: 0,
            suspicion: false,
            ack_wait,
        }
    }

    /// How many messages to ask for now: twice as many as before if each was taken in promptly, half as many if one was slow.
    pub(super) fn at_a_time(&mut self) -> usize {
        match self.slowest.take() {
            Some(slowest) if slowest > SLOW => self.at_a_time = (self.at_a_time / 2).max(1),
            Some(_) => self.at_a_time = (self.at_a_time * 2).min(MOST),
            None => {}
        }
        self.at_a_time
    }

    /// Notes that a message was taken in, or left for redelivery, within `elapsed`.
    pub(super) fn took(&mut self, elapsed: Duration) {
        self.slowest = Some(self.slowest.unwrap_or_default().max(elapsed));
        (self.starved, self.refused, self.least_bytes) = (0, 0, 0);
    }

    /// How many bytes to ask for if there is room for `room` bytes.
    pub(super) fn bytes(&self, room: usize) -> usize {
        room.max(self.least_bytes)
    }

    /// Notes that the first message of a request was larger than `bytes`, the request's limit: the server accepts larger messages than the
    /// `max_payload` that it announced when the connection was made.
    pub(super) fn too_few(&mut self, bytes: usize) {
        self.least_bytes = bytes.saturating_mul(2);
    }

    /// Notes that the server refused a request. Returns whether to log the refusal: the first one, and then one a minute.
    pub(super) fn refused(&mut self, reason: &str) -> bool {
        self.refused = self.refused.saturating_add(1);
        reason.clone_into(&mut self.refusal);
        self.refused == 1 || self.said.is_time()
    }

    /// The backoff after a refusal.
    pub(super) fn pause(&self) -> Duration {
        let doublings = self.refused.saturating_sub(1).min(10);
        (PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
    }

    /// Whether the server accepted the last request.
    pub(super) fn is_heard(&self) -> bool {
        self.refused == 0
    }

    /// Notes that a request ended while messages may have been on their way.
    pub(super) fn suspect(&mut self) {
        self.suspicion = true;
    }

    /// Whether [`Self::suspect`] was called since the last call of this function.
    pub(super) fn suspicion(&mut self) -> bool {
        std::mem::take(&mut self.suspicion)
    }

    /// Notes that a message is left for redelivery.
    pub(super) fn left(&mut self, reason: &impl ToString) {
        self.left = Some((Instant::now(), reason.to_string()));
    }

    /// Notes that a request brought nothing while `waiting` messages were in the stream.
    pub(super) fn quiet(&mut self, waiting: u64) {
        self.starved = if waiting > 0 { self.starved + 1 } else { 0 };
        self.refused = 0;
    }

    /// Whether messages arrive and are taken in. The server redelivers a message that was left within `ack_wait`; until a message is taken
    /// in, or twice that time has passed, the source reports the reason.
    pub(super) fn state(&mut self) -> Result<(), String> {
        if self.left.as_ref().is_some_and(|(at, _)| at.elapsed() > 2 * self.ack_wait) {
            self.left = None;
        }
        match &self.left {
            Some((_, reason)) => Err(format!("messages are left for redelivery: {reason}")),
            None if self.refused >= REFUSED => {
                Err(format!("the server refuses requests for messages ({}); see its consumer and the user's rights", self.refusal))
            }
            None if self.starved >= STARVED => Err(
                "messages wait in the stream and the server delivers none; see whether its user may publish to $JS.API.CONSUMER.MSG.NEXT.>, and \
                 whether the consumer is paused"
                    .into(),
            ),
            None => Ok(()),
        }
    }

    /// Notes that a message was taken in, after one may have been left for redelivery.
    pub(super) fn taken(&mut self) {
        self.left = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK_WAIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_prompt_broker_is_asked_for_more_and_a_slow_one_for_less() {
        let mut flow = Flow::new(ACK_WAIT);
        let mut asked = vec![flow.at_a_time()];
        for elapsed in [5, 5, 5, 5, 5, 3_000, 3_000, 5].map(Duration::from_millis) {
            flow.took(elapsed);
            flow.took(Duration::ZERO);
            asked.push(flow.at_a_time());
        }
        assert_eq!(asked, [1, 2, 4, 8, 16, 16, 8, 4, 8]);
        assert_eq!(flow.at_a_time(), 8, "nothing new is known");
        for _ in 0..9 {
            flow.took(2 * SLOW);
            flow.at_a_time();
        }
        assert_eq!(flow.at_a_time(), 1, "one is asked for always");
    }

    #[test]
    fn a_request_that_is_refused_may_be_an_accident_and_many_are_none() {
        let mut flow = Flow::new(ACK_WAIT);
        let said: Vec<bool> = (0..5).map(|_| flow.refused("409 Consumer Deleted")).collect();
        assert_eq!(said, [true, true, false, false, false]);
        assert_eq!(flow.pause(), Duration::from_millis(3_200));
        assert!(flow.state().unwrap_err().contains("409 Consumer Deleted"));
        flow.quiet(0);
        assert_eq!(flow.state(), Ok(()));
        flow.refused("409 Leadership Change");
        assert_eq!((flow.state(), flow.pause()), (Ok(()), PAUSE));
    }

    #[test]
    fn a_message_larger_than_any_could_be_is_asked_for_with_more_bytes() {
        let mut flow = Flow::new(ACK_WAIT);
        assert_eq!(flow.bytes(100), 100);
        flow.too_few(100);
        assert_eq!((flow.bytes(100), flow.bytes(300)), (200, 300));
        flow.took(Duration::ZERO);
        assert_eq!(flow.bytes(100), 100);
    }

    #[test]
    fn what_waits_and_does_not_come_is_said_and_so_is_what_is_left() {
        let mut flow = Flow::new(ACK_WAIT);
        flow.quiet(3);
        assert_eq!(flow.state(), Ok(()), "they may have come when the request had ended");
        flow.quiet(3);
        assert!(flow.state().unwrap_err().contains("delivers none"));
        flow.took(Duration::ZERO);
        assert_eq!(flow.state(), Ok(()));

        flow.left(&"the bucket does not answer");
        flow.quiet(0);
        assert!(flow.state().unwrap_err().ends_with("redelivery: the bucket does not answer"));
        flow.taken();
        assert_eq!(flow.state(), Ok(()));
        flow.left = Some((Instant::now() - 3 * ACK_WAIT, "long ago".into()));
        assert_eq!(flow.state(), Ok(()), "another daemon has it by now");
    }
}
