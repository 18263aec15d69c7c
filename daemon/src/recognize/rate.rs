//! When the next request may leave: a pure pacer and a pure account gate, driven by whoever has a clock (see `queue`).
//!
//! The service counts per minute *and* per second, so requests are spread evenly; time that nobody used is not saved up. A 429
//! holds the whole queue and widens the spacing; successes narrow it again, slowly. An account that is refused (key, arrears,
//! rights, quota) closes the queue; one request at a time probes it, at growing intervals, until one succeeds.

use std::time::{Duration, Instant};

/// First hold after a 429 without a hint; doubles …
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// … up to this: the service's own limits recover within about a minute.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// A 429 widens the spacing by this factor …
const WIDEN: f64 = 1.5;
/// … up to this one in all: slower than that, the limit is not the spacing's to find.
const WIDEST: f64 = 8.0;
/// A success narrows it by this one: some twenty of them undo one 429.
const NARROW: f64 = 0.98;
/// Spacing to start learning from where the config sets no limit.
const LEARNING_SPACING: Duration = Duration::from_millis(100);

/// First wait before a closed queue is probed; doubles …
const FIRST_PROBE: Duration = Duration::from_secs(2);
/// … up to this, so that a new key or a paid bill is noticed within a minute.
const LONGEST_PROBE: Duration = Duration::from_secs(60);

/// Spreads the requests of one model.
#[derive(Debug, Clone)]
pub(crate) struct Pacer {
    spacing: Duration,
    factor: f64,
    next: Option<Instant>,
    held_until: Option<Instant>,
    /// When the last 429 that taught something came, and how many of those came in a row.
    lesson: Option<Instant>,
    lessons: u32,
}

impl Pacer {
    /// `spacing` between two requests; zero: no limit of ours.
    pub(crate) fn new(spacing: Duration) -> Self {
        Pacer { spacing, factor: 1.0, next: None, held_until: None, lesson: None, lessons: 0 }
    }

    pub(crate) fn per_minute(requests: u32) -> Self {
        Pacer::new(if requests == 0 { Duration::ZERO } else { Duration::from_secs(60) / requests })
    }

    /// A little slower than that: what left evenly arrives less evenly, and no second of the service's may see more.
    pub(crate) fn per_second(requests: u32) -> Self {
        const EVEN: Duration = Duration::from_millis(1_060);
        Pacer::new(if requests == 0 { Duration::ZERO } else { EVEN / requests })
    }

    /// How long the next request has to wait; zero: it may leave.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let next = self.next.map_or(Duration::ZERO, |time| time.saturating_duration_since(now));
        next.max(self.held(now))
    }

    /// How long a 429 still holds everything.
    pub(crate) fn held(&self, now: Instant) -> Duration {
        self.held_until.map_or(Duration::ZERO, |time| time.saturating_duration_since(now))
    }

    /// A request leaves.
    pub(crate) fn take(&mut self, now: Instant) {
        self.next = Some(now + self.current_spacing());
    }

    /// A request that left at `sent` was answered with 429. Gives the time for which the queue is held from now on.
    pub(crate) fn throttled(&mut self, now: Instant, sent: Instant, hint: Option<Duration>) -> Duration {
        // Requests that were in flight together meet the same wall; that is one lesson, not thirty.
        if self.lesson.is_none_or(|lesson| sent >= lesson) {
            self.lesson = Some(now);
            self.lessons += 1;
            self.factor = (self.factor * WIDEN).min(WIDEST);
        }
        // A success in between may have taken the lessons back before the answer to an older request comes.
        let doublings = self.lessons.saturating_sub(1).min(10);
        let backoff = FIRST_HOLD.saturating_mul(1 << doublings).min(LONGEST_HOLD);
        let until = now + hint.unwrap_or(backoff);
        let until = match (self.held_until, hint) {
            // Without a hint a second answer to the same wall says nothing new.
            (Some(held), None) if held > now && self.lesson != Some(now) => held,
            (Some(held), _) => held.max(until),
            (None, _) => until,
        };
        self.held_until = Some(until);
        until - now
    }

    /// A request that left at `sent` was taken.
    pub(crate) fn succeeded(&mut self, sent: Instant) {
        if self.lesson.is_none_or(|lesson| sent >= lesson) {
            self.lessons = 0;
            self.factor = (self.factor * NARROW).max(1.0);
        }
    }

    fn current_spacing(&self) -> Duration {
        if self.factor <= 1.0 {
            self.spacing
        } else {
            self.spacing.max(LEARNING_SPACING).mul_f64(self.factor)
        }
    }
}

/// Whether the account's requests may leave at all.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: Option<Closed>,
    /// When it was opened last.
    opened: Option<Instant>,
}

#[derive(Debug)]
struct Closed {
    code: String,
    backoff: Duration,
    next_probe: Instant,
    probing: bool,
    /// A free call found out: another one that is answered proves the opposite.
    by_free_call: bool,
}

/// A call that was refused for the account's sake.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusedCall<'a> {
    /// When it left.
    pub sent: Instant,
    pub code: &'a str,
    pub kind: Call,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It would have cost something.
    Paid,
    /// It would have cost nothing: a query, a list.
    Free,
    /// The gate had let it through to find out.
    Probe,
}

/// What the gate says to a request that wants to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It may.
    Go,
    /// It may, as the one that finds out.
    Probe,
    /// Not before this time has passed; `None`: not before the probe has reported.
    Wait(Option<Duration>),
}

impl Gate {
    /// Asks for leave. After [`Leave::Probe`] the gate waits for a report of that request.
    pub(crate) fn ask(&mut self, now: Instant) -> Leave {
        match &mut self.closed {
            None => Leave::Go,
            Some(closed) if closed.probing => Leave::Wait(None),
            Some(closed) if closed.next_probe > now => Leave::Wait(Some(closed.next_probe - now)),
            Some(closed) => {
                closed.probing = true;
                Leave::Probe
            }
        }
    }

    /// A call was refused for the account's sake. Gives the time to the next probe, and whether this is news.
    pub(crate) fn refused(&mut self, now: Instant, call: RefusedCall<'_>) -> (Duration, bool) {
        let RefusedCall { sent, code, kind } = call;
        match &mut self.closed {
            // It left before the account was good again.
            None if self.opened.is_some_and(|opened| sent < opened) => (Duration::ZERO, false),
            None => {
                self.closed = Some(Closed {
                    code: code.into(),
                    backoff: FIRST_PROBE,
                    next_probe: now + FIRST_PROBE,
                    probing: false,
                    by_free_call: kind == Call::Free,
                });
                (FIRST_PROBE, true)
            }
            Some(closed) => {
                // What was in flight when the gate closed has nothing new to say; only a probe has.
                let news = kind == Call::Probe && closed.code != code;
                if kind == Call::Probe {
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

    /// A call was answered, so the account was good enough for it. Requests that were under way when the gate closed say nothing of
    /// what came since. Gives whether the gate was closed until now.
    pub(crate) fn answered(&mut self, now: Instant, kind: Call) -> bool {
        let proves = |closed: &mut Closed| match kind {
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

    /// A probe ended without telling anything about the account (never sent, throttled, a service out of order, dropped).
    pub(crate) fn told_nothing(&mut self, now: Instant) {
        if let Some(closed) = &mut self.closed {
            closed.probing = false;
            closed.next_probe = now + closed.backoff;
        }
    }

    /// A probe got as far as it could without paying; the next request finds out the rest.
    pub(crate) fn pass_on(&mut self, now: Instant) {
        if let Some(closed) = &mut self.closed {
            closed.probing = false;
            closed.next_probe = now;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused(sent: Instant, code: &str, kind: Call) -> RefusedCall<'_> {
        RefusedCall { sent, code, kind }
    }

    #[test]
    fn requests_are_spread_evenly_and_unused_time_is_not_saved_up() {
        let start = Instant::now();
        let mut pacer = Pacer::per_minute(60);
        assert_eq!(pacer.wait(start), Duration::ZERO);
        pacer.take(start);
        assert_eq!(pacer.wait(start), SECOND);
        let later = start + 100 * SECOND;
        assert_eq!(pacer.wait(later), Duration::ZERO);
        pacer.take(later);
        assert_eq!(pacer.wait(later), SECOND, "no burst after a pause");
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let now = Instant::now();
        let mut pacer = Pacer::per_minute(0);
        pacer.take(now);
        assert_eq!(pacer.wait(now), Duration::ZERO);
    }

    #[test]
    fn a_hint_holds_the_queue_and_without_one_holds_double_up_to_a_minute() {
        let mut now = Instant::now();
        let mut pacer = Pacer::per_minute(0);
        assert_eq!(pacer.throttled(now, now, Some(7 * SECOND)), 7 * SECOND);
        assert_eq!(pacer.wait(now), 7 * SECOND);
        let mut holds = Vec::new();
        for _ in 0..8 {
            now += pacer.wait(now) + SECOND;
            holds.push(pacer.throttled(now, now, None).as_secs());
        }
        assert_eq!(holds, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn an_old_request_may_be_refused_after_a_newer_one_succeeded() {
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let mut pacer = Pacer::per_minute(0);
        pacer.throttled(at(1), at(1), None);
        pacer.succeeded(at(2));
        assert_eq!(pacer.throttled(at(3), at(0), None), SECOND);
    }

    #[test]
    fn answers_to_requests_in_flight_together_are_one_lesson() {
        let sent = Instant::now();
        let mut pacer = Pacer::per_minute(60);
        for answer in 1..=30 {
            let now = sent + answer * Duration::from_millis(10);
            assert!(pacer.throttled(now, sent, None) <= SECOND);
        }
        assert_eq!(pacer.lessons, 1);
        assert!((pacer.factor - WIDEN).abs() < 1e-9);
    }

    #[test]
    fn the_spacing_widens_with_429_and_recovers_with_successes() {
        let mut now = Instant::now();
        let mut pacer = Pacer::per_minute(60);
        for _ in 0..10 {
            now += 100 * SECOND;
            pacer.throttled(now, now, None);
        }
        assert_eq!(pacer.current_spacing(), 8 * SECOND);
        let mut successes = 0;
        while pacer.current_spacing() > SECOND {
            now += SECOND;
            pacer.succeeded(now);
            successes += 1;
        }
        assert!((50..200).contains(&successes), "{successes}");
    }

    #[test]
    fn a_refused_account_closes_the_gate_and_one_request_at_a_time_probes_it() {
        let mut now = Instant::now();
        let mut gate = Gate::default();
        assert_eq!(gate.ask(now), Leave::Go);
        assert_eq!(gate.refused(now, refused(now, "InvalidApiKey", Call::Paid)), (2 * SECOND, true));
        // The other requests that were in flight are no news.
        assert_eq!(gate.refused(now, refused(now, "InvalidApiKey", Call::Paid)), (2 * SECOND, false));
        assert_eq!(gate.ask(now), Leave::Wait(Some(2 * SECOND)));
        let mut waits = Vec::new();
        for _ in 0..6 {
            while let Leave::Wait(Some(wait)) = gate.ask(now) {
                now += wait;
            }
            assert_eq!(gate.ask(now), Leave::Wait(None), "a second probe");
            waits.push(gate.refused(now, refused(now, "InvalidApiKey", Call::Probe)).0.as_secs());
        }
        assert_eq!(waits, [4, 8, 16, 32, 60, 60]);
        let another = gate.refused(now, refused(now, "Arrearage", Call::Probe));
        assert_eq!(another, (60 * SECOND, true), "another reason is news");
        assert!(gate.answered(now, Call::Probe));
        assert!(!gate.answered(now, Call::Probe));
        assert_eq!(gate.ask(now), Leave::Go);
    }

    #[test]
    fn what_was_in_flight_when_the_gate_moved_does_not_move_it_back() {
        let start = Instant::now();
        let mut gate = Gate::default();
        gate.refused(start, refused(start, "Arrearage", Call::Paid));
        assert!(!gate.answered(start + SECOND, Call::Paid), "an old stream that ends well");
        assert!(!gate.answered(start + SECOND, Call::Free), "a query needs no money");
        assert!(gate.is_closed());
        let later = start + 2 * SECOND;
        assert_eq!(gate.ask(later), Leave::Probe);
        assert!(gate.answered(later, Call::Probe));
        let late = gate.refused(later + SECOND, refused(start, "Arrearage", Call::Paid));
        assert_eq!((late, gate.is_closed()), ((Duration::ZERO, false), false), "an old refusal");
    }

    #[test]
    fn a_gate_that_a_query_closed_is_opened_by_one_that_is_answered() {
        let now = Instant::now();
        let mut gate = Gate::default();
        assert!(gate.refused(now, refused(now, "InvalidApiKey", Call::Free)).1);
        assert!(gate.answered(now + SECOND, Call::Free));
        assert_eq!(gate.ask(now + SECOND), Leave::Go);
        // A probe that is refused as well is about more than the query's right.
        gate.refused(now + 2 * SECOND, refused(now + 2 * SECOND, "InvalidApiKey", Call::Free));
        gate.refused(now + 4 * SECOND, refused(now + 4 * SECOND, "Arrearage", Call::Probe));
        assert!(!gate.answered(now + 5 * SECOND, Call::Free));
    }

    #[test]
    fn a_probe_that_tells_nothing_leaves_the_gate_closed_and_lets_another_try() {
        let mut now = Instant::now();
        let mut gate = Gate::default();
        gate.refused(now, refused(now, "Arrearage", Call::Paid));
        now += 2 * SECOND;
        assert_eq!(gate.ask(now), Leave::Probe);
        gate.told_nothing(now);
        assert_eq!(gate.ask(now), Leave::Wait(Some(2 * SECOND)));
        assert_eq!(gate.ask(now + 2 * SECOND), Leave::Probe);
    }

    proptest! {
        /// However requests arrive and are answered: never closer together than the configured spacing, and never held for longer
        /// than the longest hint or a minute.
        #[test]
        fn no_history_makes_a_burst_or_a_standstill(
            per_minute in 1_u32..2_000,
            steps in prop::collection::vec((0_u64..3_000, 0_u8..4, 0_u64..90), 1..200),
        ) {
            let spacing = Duration::from_secs(60) / per_minute;
            let mut pacer = Pacer::per_minute(per_minute);
            let mut now = Instant::now();
            let mut last: Option<Instant> = None;
            for (pause, answer, hint) in steps {
                now += Duration::from_millis(pause);
                let wait = pacer.wait(now);
                prop_assert!(wait <= Duration::from_secs(90).max(spacing.max(LEARNING_SPACING).mul_f64(WIDEST)));
                now += wait;
                prop_assert_eq!(pacer.wait(now), Duration::ZERO);
                pacer.take(now);
                if let Some(last) = last {
                    prop_assert!(now - last >= spacing);
                }
                last = Some(now);
                match answer {
                    0 => { pacer.throttled(now, now, None); }
                    1 => { pacer.throttled(now, now, Some(Duration::from_secs(hint))); }
                    _ => pacer.succeeded(now),
                }
            }
        }
    }
}
