//! Times within a recording, and numbers of samples.

use symphonia::core::units::{Duration, TimeBase, Timestamp};

/// Nanoseconds from the recording's begin.
pub(super) type Time = i64;

pub(super) const SECOND: Time = 1_000_000_000;

/// The longest gap that is filled with silence, and the longest recording: longer ones are made up.
pub(super) const LONGEST: Time = 48 * 3600 * SECOND;

/// The time between two time stamps, at most a little more than [`LONGEST`] either way.
pub(super) fn time(base: TimeBase, first: Timestamp, ts: Timestamp) -> Time {
    let ticks = i128::from(ts.get()) - i128::from(first.get());
    let time = ticks * i128::from(base.numer.get()) * i128::from(SECOND) / i128::from(base.denom.get());
    // A file may state any number.
    time.clamp(-i128::from(LONGEST) - 1, i128::from(LONGEST) + 1) as Time
}

/// How long a packet is.
pub(super) fn length(base: TimeBase, duration: Duration) -> Time {
    time(base, Timestamp::ZERO, Timestamp::ZERO.saturating_add(duration))
}

/// How long this many samples are.
pub(super) fn samples_time(samples: u64, rate: u32) -> Time {
    let time = u128::from(samples) * SECOND as u128 / u128::from(rate.max(1));
    Time::try_from(time).map_or(LONGEST + 1, |time| time.min(LONGEST + 1))
}

/// How many samples a time has, rounded.
pub(super) fn samples_in(time: Time, rate: u32) -> u64 {
    let second = SECOND as u128;
    ((u128::from(time.max(0) as u64) * u128::from(rate) + second / 2) / second) as u64
}
