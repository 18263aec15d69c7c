//! A wall clock for those whom a step forward would harm.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use jiff::Timestamp;

/// The time of day, except that it follows only steps back: a clock that was set ahead makes nothing old. Whoever forgets or takes
/// what has an age asks here; the next start believes the clock.
pub fn cautious_now() -> Timestamp {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    static LEAST_AHEAD: AtomicI64 = AtomicI64::new(i64::MAX);
    let start = *START;
    follow(
        // In this order: a pause in between makes the wall seem to be ahead, which is not believed.
        || nanoseconds(start.elapsed().as_nanos()),
        || nanoseconds(Timestamp::now().as_nanosecond()),
        &LEAST_AHEAD,
    )
}

/// The monotonic clock, moved to where the wall clock was least ahead of it.
fn follow(monotonic: impl Fn() -> i64, wall: impl Fn() -> i64, least_ahead: &AtomicI64) -> Timestamp {
    let monotonic = monotonic();
    let ahead = wall().saturating_sub(monotonic);
    let ahead = ahead.min(least_ahead.fetch_min(ahead, Ordering::Relaxed));
    Timestamp::from_nanosecond(i128::from(monotonic.saturating_add(ahead))).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn nanoseconds(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_step_forward_is_not_followed_and_a_step_back_is() {
        let least_ahead = AtomicI64::new(i64::MAX);
        let at = |monotonic: i64, wall: i64| {
            follow(|| monotonic * SECOND, || wall * SECOND, &least_ahead).as_second()
        };
        assert_eq!(at(0, 1_000), 1_000);
        assert_eq!(at(10, 1_010), 1_010);
        assert_eq!(at(20, 999_999), 1_020, "set ahead");
        assert_eq!(at(30, 1_030), 1_030, "set right again");
        assert_eq!(at(40, 440), 440, "set back");
        assert_eq!(at(50, 1_050), 450, "and right again");
    }
}
