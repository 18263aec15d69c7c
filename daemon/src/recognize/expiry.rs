//! How long a result is there to be fetched, and when it is said that it may be lost. Pure.
//!
//! The service deletes a task and its result a day after the task's end. When a task has ended is known only to be after the last
//! answer that it had not.

use jiff::SignedDuration;

/// How long the service keeps a result (RELIABILITY 4).
pub(crate) const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The service itself ends a task that brings nothing for so long.
const LONGEST_TASK: SignedDuration = SignedDuration::from_hours(3);

/// When a result that could not be fetched is warned of, in hours since its task was last known to run: when half of its life is
/// over, and more often towards the end.
const WARNINGS: [i64; 5] = [12, 18, 21, 22, 23];

/// How many warnings there should have been of a task that was last known to run so long ago.
pub(crate) fn warnings(since: SignedDuration) -> u32 {
    WARNINGS.iter().map(|hours| u32::from(since >= SignedDuration::from_hours(*hours))).sum()
}

/// Whether the result may be gone by now.
pub(crate) fn may_be_over(since: SignedDuration) -> bool {
    since >= LIFE
}

/// Whether the result of a task that has ended cannot be there any more.
pub(crate) fn is_over(since: SignedDuration) -> bool {
    since >= LIFE + LONGEST_TASK
}

/// A time for people: whole hours, or minutes below one.
pub(crate) fn rough(time: SignedDuration) -> String {
    match time.as_hours() {
        0 => format!("{} min", time.as_mins()),
        hours => format!("{hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_when_half_of_the_time_is_over_and_more_often_towards_the_end() {
        let after = |hours: i64| warnings(SignedDuration::from_hours(hours));
        let told: Vec<u32> = [-1, 0, 11, 12, 17, 18, 21, 22, 23, 24, 100].map(after).to_vec();
        assert_eq!(told, [0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 5]);
    }

    #[test]
    fn a_result_is_given_up_only_when_even_the_longest_task_leaves_no_hope() {
        let hours = SignedDuration::from_hours;
        assert!(!may_be_over(hours(23)) && may_be_over(hours(24)));
        assert!(!is_over(hours(26)) && is_over(hours(27)));
        assert_eq!(
            (rough(hours(31)), rough(SignedDuration::from_secs(150))),
            ("31 h".into(), "2 min".into())
        );
    }
}
