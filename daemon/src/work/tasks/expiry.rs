//! How long a result can be fetched, and when the daemon warns that it may be lost. Pure.
//!
//! The service deletes a task and its result some time after the task's end. Of the time of a task's end the daemon knows only that it is
//! later than the last answer that the task was running.

use std::time::Duration;

use jiff::SignedDuration;

use crate::recognize::Tasks;

/// When the daemon warns of a result that could not be fetched, in hours before the service may delete the result: after half a day, and
/// more often towards the end.
const WARNINGS: [i64; 5] = [12, 6, 3, 2, 1];

/// How many warnings are due for a task that was last known to be running `since` ago.
pub(super) fn warnings(tasks: Tasks, since: SignedDuration) -> u32 {
    let left = left(tasks, since);
    WARNINGS.iter().map(|hours| u32::from(left <= SignedDuration::from_hours(*hours))).sum()
}

/// Time until the service may delete the result.
pub(super) fn left(tasks: Tasks, since: SignedDuration) -> SignedDuration {
    signed(tasks.kept) - since
}

/// Whether the service may have deleted the result by now.
pub(super) fn may_be_over(tasks: Tasks, since: SignedDuration) -> bool {
    since >= signed(tasks.kept)
}

/// Whether the service must have deleted the result by now, even if the task ran for the longest time.
pub(super) fn is_over(tasks: Tasks, since: SignedDuration) -> bool {
    since >= signed(tasks.kept) + signed(tasks.longest)
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

/// A time as text for people: whole hours, or minutes below one hour.
pub(super) fn rough(time: SignedDuration) -> String {
    match time.as_hours() {
        0 => format!("{} min", time.as_mins()),
        hours => format!("{hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Tasks = Tasks { kept: Duration::from_secs(24 * 3600), longest: Duration::from_secs(3 * 3600) };

    #[test]
    fn warnings_come_when_half_of_the_time_is_over_and_more_often_towards_the_end() {
        let after = |hours: i64| warnings(DAY, SignedDuration::from_hours(hours));
        let told: Vec<u32> = [-1, 0, 11, 12, 17, 18, 21, 22, 23, 24, 100].map(after).to_vec();
        assert_eq!(told, [0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 5]);
    }

    #[test]
    fn a_result_is_given_up_only_when_even_the_longest_task_leaves_no_hope() {
        let hours = SignedDuration::from_hours;
        assert!(!may_be_over(DAY, hours(23)) && may_be_over(DAY, hours(24)));
        assert!(!is_over(DAY, hours(26)) && is_over(DAY, hours(27)));
        assert_eq!(
            (rough(hours(31)), rough(SignedDuration::from_secs(150))),
            ("31 h".into(), "2 min".into())
        );
    }
}
