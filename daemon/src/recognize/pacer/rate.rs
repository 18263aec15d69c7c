//! When the next request may be sent: without a clock, which the pacer has.
//!
//! The service counts per minute *and* per second, so requests are spread evenly; unused time is not saved up. A 429 holds the whole queue
//! and widens the spacing; successes narrow it again, slowly.

use std::time::{Duration, Instant};

/// First hold after a 429 without a hint; doubles …
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// … up to this. The service's own limits recover within about a minute; a hold that begins late can extend beyond the recovery by its own
/// length, and one request in half a minute costs the service nothing.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// A 429 widens the spacing by this factor …
const WIDEN: f64 = 1.5;
/// … up to this factor in all: a slower rate is not to be learned from 429s.
const WIDEST: f64 = 8.0;
/// A success narrows the spacing by this factor: some twenty successes undo one 429.
const NARROW: f64 = 0.98;
/// Initial spacing where the config sets no limit.
const LEARNING_SPACING: Duration = Duration::from_millis(100);

/// Spreads the requests of one model.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    spacing: Duration,
    factor: f64,
    next: Option<Instant>,
    held_until: Option<Instant>,
    /// When the last 429 that changed the spacing came, and how many of those came in a row.
    lesson: Option<Instant>,
    lessons: u32,
}

impl Rate {
    /// `spacing` between two requests; zero: Hark sets no limit.
    pub(crate) fn new(spacing: Duration) -> Self {
        Rate { spacing, factor: 1.0, next: None, held_until: None, lesson: None, lessons: 0 }
    }

    pub(crate) fn per_minute(requests: u32) -> Self {
        Rate::new(if requests == 0 { Duration::ZERO } else { Duration::from_secs(60) / requests })
    }

    /// Slightly slower than `requests`: what is sent evenly arrives less evenly, and the service may not count more in any second.
    pub(crate) fn per_second(requests: u32) -> Self {
        const EVEN: Duration = Duration::from_millis(1_060);
        Rate::new(if requests == 0 { Duration::ZERO } else { EVEN / requests })
    }

    /// Takes the spacing of another config over. What 429s have taught stays; a pause that began is not longer than the new spacing.
    pub(crate) fn reconfigure(&mut self, configured: &Rate, now: Instant) {
        self.spacing = configured.spacing;
        let latest = now + self.current_spacing();
        self.next = self.next.map(|next| next.min(latest));
    }

    /// How long the next request has to wait; zero: it may be sent.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let next = self.next.map_or(Duration::ZERO, |time| time.saturating_duration_since(now));
        next.max(self.held(now))
    }

    /// How long a 429 still holds the queue.
    pub(crate) fn held(&self, now: Instant) -> Duration {
        self.held_until.map_or(Duration::ZERO, |time| time.saturating_duration_since(now))
    }

    /// Records that a request is sent.
    pub(crate) fn take(&mut self, now: Instant) {
        self.next = Some(now + self.current_spacing());
    }

    /// A request that was sent at `sent` was answered with 429. Returns for how long the queue is held from now on.
    pub(crate) fn throttled(&mut self, now: Instant, sent: Instant, hint: Option<Duration>) -> Duration {
        // Requests that were in flight together meet the same limit; their 429s count once.
        let is_news = self.lesson.is_none_or(|lesson| sent >= lesson);
        if is_news {
            self.lesson = Some(now);
            self.lessons += 1;
            self.factor = (self.factor * WIDEN).min(WIDEST);
        }
        // A success may have reset the count before the answer to an older request arrives.
        let doublings = self.lessons.saturating_sub(1).min(10);
        let backoff = FIRST_HOLD.saturating_mul(1 << doublings).min(LONGEST_HOLD);
        let held = self.held(now);
        let hold = match hint {
            Some(hint) => hint.max(held),
            None if is_news || held.is_zero() => backoff.max(held),
            None => held,
        };
        self.held_until = Some(now + hold);
        hold
    }

    /// The service took a request that was sent at `sent`.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_are_spread_evenly_and_unused_time_is_not_saved_up() {
        let start = Instant::now();
        let mut rate = Rate::per_minute(60);
        assert_eq!(rate.wait(start), Duration::ZERO);
        rate.take(start);
        assert_eq!(rate.wait(start), SECOND);
        let later = start + 100 * SECOND;
        assert_eq!(rate.wait(later), Duration::ZERO);
        rate.take(later);
        assert_eq!(rate.wait(later), SECOND, "no burst after a pause");
        let mut unlimited = Rate::per_minute(0);
        unlimited.take(start);
        assert_eq!(unlimited.wait(start), Duration::ZERO);
    }

    #[test]
    fn another_spacing_counts_from_now_on_and_what_was_learned_stays() {
        let start = Instant::now();
        let mut rate = Rate::per_minute(1);
        rate.take(start);
        rate.reconfigure(&Rate::per_minute(60), start);
        assert_eq!(rate.wait(start), SECOND);
        rate.throttled(start, start, Some(9 * SECOND));
        rate.reconfigure(&Rate::per_minute(600), start);
        assert_eq!((rate.wait(start), rate.lessons), (9 * SECOND, 1));
    }

    #[test]
    fn a_hint_holds_the_queue_and_without_one_holds_double_up_to_half_a_minute() {
        let mut now = Instant::now();
        let mut rate = Rate::per_minute(0);
        assert_eq!(rate.throttled(now, now, Some(7 * SECOND)), 7 * SECOND);
        assert_eq!(rate.wait(now), 7 * SECOND);
        let mut holds = Vec::new();
        for _ in 0..8 {
            now += rate.wait(now) + SECOND;
            holds.push(rate.throttled(now, now, None).as_secs());
        }
        assert_eq!(holds, [2, 4, 8, 16, 30, 30, 30, 30]);
    }

    #[test]
    fn an_old_request_may_be_refused_after_a_newer_one_succeeded() {
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let mut rate = Rate::per_minute(0);
        rate.throttled(at(1), at(1), None);
        rate.succeeded(at(2));
        assert_eq!(rate.throttled(at(3), at(0), None), SECOND);
    }

    #[test]
    fn answers_to_requests_in_flight_together_are_one_lesson() {
        let sent = Instant::now();
        let mut rate = Rate::per_minute(60);
        for answer in 1..=30 {
            let now = sent + answer * Duration::from_millis(10);
            assert!(rate.throttled(now, sent, None) <= SECOND);
        }
        assert_eq!(rate.lessons, 1);
        assert!((rate.factor - WIDEN).abs() < 1e-9);
    }

    #[test]
    fn the_spacing_widens_with_429_and_recovers_with_successes() {
        let mut now = Instant::now();
        let mut rate = Rate::per_minute(60);
        for _ in 0..10 {
            now += 100 * SECOND;
            rate.throttled(now, now, None);
        }
        assert_eq!(rate.current_spacing(), 8 * SECOND);
        let mut successes = 0;
        while rate.current_spacing() > SECOND {
            now += SECOND;
            rate.succeeded(now);
            successes += 1;
        }
        assert!((50..200).contains(&successes), "{successes}");
    }

    proptest! {
        /// However requests arrive and are answered: they are never closer together than the configured spacing, and never held for longer
        /// than the longest hint or half a minute.
        #[test]
        fn no_history_makes_a_burst_or_a_standstill(
            per_minute in 1_u32..2_000,
            steps in prop::collection::vec((0_u64..3_000, 0_u8..4, 0_u64..90), 1..200),
        ) {
            let spacing = Duration::from_secs(60) / per_minute;
            let mut rate = Rate::per_minute(per_minute);
            let mut now = Instant::now();
            let mut last: Option<Instant> = None;
            for (pause, answer, hint) in steps {
                now += Duration::from_millis(pause);
                let wait = rate.wait(now);
                prop_assert!(wait <= Duration::from_secs(90).max(spacing.max(LEARNING_SPACING).mul_f64(WIDEST)));
                now += wait;
                prop_assert_eq!(rate.wait(now), Duration::ZERO);
                rate.take(now);
                if let Some(last) = last {
                    prop_assert!(now - last >= spacing);
                }
                last = Some(now);
                match answer {
                    0 => { rate.throttled(now, now, None); }
                    1 => { rate.throttled(now, now, Some(Duration::from_secs(hint))); }
                    _ => rate.succeeded(now),
                }
            }
        }
    }
}
