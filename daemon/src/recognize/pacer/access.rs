//! Whether the account's requests may be sent: without a clock, which the pacer has.
//!
//! A refusal of the account (key, arrears, rights, quota) closes the queue; one request at a time probes the account, at growing intervals,
//! until one succeeds.

use std::time::{Duration, Instant};

/// First wait before a closed queue is probed; doubles …
const FIRST_PROBE: Duration = Duration::from_secs(2);
/// … up to this, so that a new key or a paid bill is noticed within a minute.
const LONGEST_PROBE: Duration = Duration::from_secs(60);

/// Whether the account's requests may be sent at all.
#[derive(Debug, Default)]
pub(super) struct Access {
    closed: Option<Closed>,
    /// When the queue was opened last.
    opened: Option<Instant>,
}

#[derive(Debug)]
struct Closed {
    code: String,
    backoff: Duration,
    next_probe: Instant,
    probing: bool,
    /// A free call was refused: another free call that is answered reopens the queue.
    by_free_call: bool,
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A call that would have cost something.
    Paid,
    /// A call that would have cost nothing: a query, a list.
    Free,
    /// A call that the queue let through to probe the account.
    Probe,
}

/// The queue's answer to a request that wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// It may be sent.
    Go,
    /// It may be sent, and probes whether the account is accepted again.
    Probe,
    /// Not before this time has passed, or the pacer has learned something.
    Wait(Duration),
}

impl Access {
    /// Asks whether a request may be sent. After [`Leave::Probe`] the queue waits for the outcome of that request.
    pub(super) fn ask(&mut self, now: Instant) -> Leave {
        match &mut self.closed {
            None => Leave::Go,
            Some(closed) if closed.probing => Leave::Wait(LONGEST_PROBE),
            Some(closed) if closed.next_probe > now => Leave::Wait(closed.next_probe - now),
            Some(closed) => {
                closed.probing = true;
                Leave::Probe
            }
        }
    }

    /// The operator may have changed what was refused: the next request probes at once, and later ones at short intervals again.
    pub(super) fn probe_now(&mut self, now: Instant) {
        if let Some(closed) = &mut self.closed {
            (closed.backoff, closed.next_probe) = (FIRST_PROBE, now);
        }
    }

    /// A call that was sent at `sent` was refused because of the account. Returns the time until the next probe, and whether the refusal is
    /// news.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        sent: Instant,
        code: &str,
        call: Call,
    ) -> (Duration, bool) {
        match &mut self.closed {
            // The call was sent before the account was accepted again.
            None if self.opened.is_some_and(|opened| sent < opened) => (Duration::ZERO, false),
            None => {
                self.closed = Some(Closed {
                    code: code.into(),
                    backoff: FIRST_PROBE,
                    next_probe: now + FIRST_PROBE,
                    probing: false,
                    by_free_call: call == Call::Free,
                });
                (FIRST_PROBE, true)
            }
            Some(closed) => {
                // Requests that were in flight when the queue closed report nothing new; only a probe does.
                let news = call == Call::Probe && closed.code != code;
                if call == Call::Probe {
                    closed.backoff = (closed.backoff * 2).min(LONGEST_PROBE);
                    closed.next_probe = now + closed.backoff;
                    closed.probing = false;
                    closed.code = code.into();
                    closed.by_free_call = false;
                }
                (closed.next_probe.saturating_duration_since(now), news)
            }
        }
    }

    /// Records that a call was answered, so the account was good enough for it. Requests that were under way when the queue closed prove nothing
    /// about the account since then. Returns whether this call has reopened the queue.
    pub(super) fn answered(&mut self, now: Instant, call: Call) -> bool {
        let proves = |closed: &mut Closed| match call {
            Call::Paid => false,
            Call::Free => closed.by_free_call,
            Call::Probe => true,
        };
        let opens = self.closed.take_if(proves).is_some();
        if opens {
            self.opened = Some(now);
        }
        opens
    }

    /// A probe ended without a result about the account (never sent, throttled, a service out of order, dropped).
    pub(super) fn proved_nothing(&mut self, now: Instant) {
        if let Some(closed) = &mut self.closed {
            closed.probing = false;
            closed.next_probe = now + closed.backoff;
        }
    }

    /// Notes that a free call of a probe was answered: the key is good, and the next paid request shows whether the account is.
    pub(super) fn key_accepted(&mut self, now: Instant) {
        if let Some(closed) = &mut self.closed {
            closed.probing = false;
            closed.next_probe = now;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_refused_account_closes_the_queue_and_one_request_at_a_time_probes_it() {
        let mut now = Instant::now();
        let mut access = Access::default();
        assert_eq!(access.ask(now), Leave::Go);
        assert_eq!(access.refused(now, now, "InvalidApiKey", Call::Paid), (2 * SECOND, true));
        // The other requests that were in flight are not news.
        assert_eq!(access.refused(now, now, "InvalidApiKey", Call::Paid), (2 * SECOND, false));
        assert_eq!(access.ask(now), Leave::Wait(2 * SECOND));
        let mut waits = Vec::new();
        for _ in 0..6 {
            while let Leave::Wait(wait) = access.ask(now) {
                now += wait;
            }
            assert_eq!(access.ask(now), Leave::Wait(LONGEST_PROBE), "a second probe");
            waits.push(access.refused(now, now, "InvalidApiKey", Call::Probe).0.as_secs());
        }
        assert_eq!(waits, [4, 8, 16, 32, 60, 60]);
        let another = access.refused(now, now, "Arrearage", Call::Probe);
        assert_eq!(another, (60 * SECOND, true), "another reason is news");
        assert!(access.answered(now, Call::Probe));
        assert!(!access.answered(now, Call::Probe));
        assert_eq!(access.ask(now), Leave::Go);
    }

    #[test]
    fn what_was_in_flight_when_the_queue_closed_does_not_move_it_back() {
        let start = Instant::now();
        let mut access = Access::default();
        access.refused(start, start, "Arrearage", Call::Paid);
        assert!(!access.answered(start + SECOND, Call::Paid), "an old stream that ends well");
        assert!(!access.answered(start + SECOND, Call::Free), "a query needs no money");
        assert!(access.is_closed());
        let later = start + 2 * SECOND;
        assert_eq!(access.ask(later), Leave::Probe);
        assert!(access.answered(later, Call::Probe));
        let late = access.refused(later + SECOND, start, "Arrearage", Call::Paid);
        assert_eq!((late, access.is_closed()), ((Duration::ZERO, false), false), "an old refusal");
    }

    #[test]
    fn a_queue_that_a_query_closed_is_opened_by_one_that_is_answered() {
        let now = Instant::now();
        let mut access = Access::default();
        assert!(access.refused(now, now, "InvalidApiKey", Call::Free).1);
        assert!(access.answered(now + SECOND, Call::Free));
        assert_eq!(access.ask(now + SECOND), Leave::Go);
        // If a probe is refused as well, the refusal concerns more than the right to query.
        access.refused(now + 2 * SECOND, now + 2 * SECOND, "InvalidApiKey", Call::Free);
        access.refused(now + 4 * SECOND, now + 4 * SECOND, "Arrearage", Call::Probe);
        assert!(!access.answered(now + 5 * SECOND, Call::Free));
    }

    #[test]
    fn a_probe_that_proves_nothing_leaves_the_queue_closed_and_lets_another_try() {
        let mut now = Instant::now();
        let mut access = Access::default();
        access.refused(now, now, "Arrearage", Call::Paid);
        now += 2 * SECOND;
        assert_eq!(access.ask(now), Leave::Probe);
        access.proved_nothing(now);
        assert_eq!(access.ask(now), Leave::Wait(2 * SECOND));
        assert_eq!(access.ask(now + 2 * SECOND), Leave::Probe);
    }
}
