//! A wall clock that ignores steps forward, and the CPU time of a process.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The time of day, which follows the wall clock's steps back but not its steps forward: a clock that is set ahead does not make records
/// old. Code that deletes or takes over records by their age uses this clock. A restarted daemon takes the wall clock as it is then.
pub fn cautious_now() -> Timestamp {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    static LEAST_AHEAD: AtomicI64 = AtomicI64::new(i64::MAX);
    let start = *START;
    follow(
        // The monotonic clock is read first: a pause between the two reads makes the wall clock seem to be ahead, and `follow` ignores
        // that.
        || nanoseconds(start.elapsed().as_nanos()),
        || nanoseconds(Timestamp::now().as_nanosecond()),
        &LEAST_AHEAD,
    )
}

/// CPU time of a process since its start, of all its threads together; `None` if there is no such process. Read from the process's CPU
/// clock and not from `/proc`, where systemd's `ProtectProc=` hides children that gave up their rights.
#[allow(unsafe_code)]
pub fn cpu_time(process: u32) -> Option<Duration> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: each call writes one value to a local variable of the type that the call expects.
    let is_known = unsafe {
        libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    let seconds = u64::try_from(time.tv_sec).ok().filter(|_| is_known)?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).ok()?))
}

/// The monotonic time plus the smallest difference so far between wall clock and monotonic clock; `least_ahead` keeps that difference.
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
    fn a_process_that_waits_computes_nothing_and_one_that_computes_does() {
        let us = || cpu_time(std::process::id()).unwrap();
        let before = us();
        while us() - before < Duration::from_millis(20) {}
        let mut idle = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(cpu_time(idle.id()).unwrap() < Duration::from_secs(1));
        idle.kill().unwrap();
        idle.wait().unwrap();
        assert_eq!(cpu_time(idle.id()), None);
    }

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
