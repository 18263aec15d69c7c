//! When an event is tried again: from (what happened so far, an answer) to what follows. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestResult {
    /// 2xx.
    Taken,
    /// No answer, 408, 425, 429 or 5xx: the receiver may take the event later.
    Later(String),
    /// 3xx or another 4xx: the receiver does not take this event.
    Refused(String),
    /// 410: the receiver wants no events any more.
    Gone,
    /// Nothing was sent: the event could not be read from NATS.
    Unsent(String),
}

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Taken,
    /// The event is due again at this time.
    Again(Timestamp),
    /// An operator has to look at the event, or at its receiver.
    Aside,
    /// An operator has to look at the receiver, which gets nothing until then.
    Pause,
}

/// The tries of one event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tries {
    /// How many there were.
    #[serde(rename = "tries")]
    pub count: u32,
    /// Of these, the ones that were answered by 3xx or 4xx.
    pub refusals: u32,
    /// When the first try failed.
    pub since: Option<Timestamp>,
}

impl Tries {
    /// The receiver seems to be away: it has taken the event neither at once nor soon after, and has never refused it.
    pub fn is_away(&self) -> bool {
        self.count > 1 && self.refusals == 0
    }
}

/// The waits between the tries of an event.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The last one repeats.
    pub waits: Vec<Duration>,
    /// An event that could not be sent for so long pauses the webhook.
    pub patience: Duration,
    /// An event that was refused so often is set aside.
    pub refusals: u32,
    /// For a whole request.
    pub timeout: Duration,
}

impl Default for Schedule {
    /// The figures that docs/webhooks.md states.
    fn default() -> Self {
        let seconds = [5, 30, 120, 600, 3_600, 21_600];
        Schedule {
            waits: seconds.map(Duration::from_secs).to_vec(),
            patience: Duration::from_secs(12 * 3_600),
            refusals: 3,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Schedule {
    /// Records an answer that arrived at `now`. The last try before the patience ends is at its end, not after it.
    pub fn after(&self, tries: &mut Tries, answer: &RequestResult, now: Timestamp) -> Next {
        match answer {
            RequestResult::Taken => return Next::Taken,
            RequestResult::Gone => return Next::Pause,
            RequestResult::Unsent(_) => return Next::Again(now + self.wait(0)),
            RequestResult::Later(_) => {}
            RequestResult::Refused(_) => tries.refusals += 1,
        }
        let since = *tries.since.get_or_insert(now);
        let wait = self.wait(tries.count);
        tries.count += 1;
        if matches!(answer, RequestResult::Refused(_)) {
            let is_over = tries.refusals >= self.refusals;
            return if is_over { Next::Aside } else { Next::Again(now + wait) };
        }
        let end = since + self.patience;
        if now >= end { Next::Pause } else { Next::Again((now + wait).min(end)) }
    }

    fn wait(&self, tries: u32) -> Duration {
        let last = self.waits.len().saturating_sub(1);
        let at = usize::try_from(tries).unwrap_or(usize::MAX).min(last);
        self.waits.get(at).copied().unwrap_or(self.patience)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    /// The times of the tries, in seconds after the first one, and what ended them.
    fn run(answers: impl Iterator<Item = RequestResult>) -> (Vec<i64>, Option<Next>) {
        let (schedule, mut tries, mut now, mut times) =
            (Schedule::default(), Tries::default(), start(), Vec::new());
        for answer in answers {
            times.push(now.as_second() - start().as_second());
            match schedule.after(&mut tries, &answer, now) {
                Next::Again(due) => now = due,
                end => return (times, Some(end)),
            }
        }
        (times, None)
    }

    #[test]
    fn each_answer_has_its_course() {
        let later = || RequestResult::Later("503".into());
        let refused = || RequestResult::Refused("404".into());
        let (minute, hour) = (60, 3_600);
        for (answers, times, end) in [
            (vec![RequestResult::Taken], vec![0], Some(Next::Taken)),
            (vec![RequestResult::Gone], vec![0], Some(Next::Pause)),
            (vec![later(), later(), RequestResult::Taken], vec![0, 5, 35], Some(Next::Taken)),
            (vec![later(), RequestResult::Gone], vec![0, 5], Some(Next::Pause)),
            (vec![refused(); 9], vec![0, 5, 35], Some(Next::Aside)),
            (vec![refused(), later(), refused(), refused()], vec![0, 5, 35, 155], Some(Next::Aside)),
            (
                vec![later(); 20],
                vec![
                    0,
                    5,
                    35,
                    35 + 2 * minute,
                    35 + 12 * minute,
                    35 + 12 * minute + hour,
                    35 + 12 * minute + 7 * hour,
                    12 * hour,
                ],
                Some(Next::Pause),
            ),
            (vec![RequestResult::Unsent("no object".into()); 3], vec![0, 5, 10], None),
        ] {
            assert_eq!(run(answers.into_iter()), (times, end));
        }
    }

    #[test]
    fn what_was_not_sent_is_no_try() {
        let (schedule, mut tries) = (Schedule::default(), Tries::default());
        schedule.after(&mut tries, &RequestResult::Unsent("no object".into()), start());
        assert_eq!(tries, Tries::default());
    }

    proptest! {
        #[test]
        fn every_course_ends_or_goes_on_within_the_patience(kinds in prop::collection::vec(0..3_u8, 1..60)) {
            let (schedule, mut tries, mut now) = (Schedule::default(), Tries::default(), start());
            for kind in kinds {
                let answer = match kind {
                    0 => RequestResult::Later(String::new()),
                    1 => RequestResult::Refused(String::new()),
                    _ => RequestResult::Unsent(String::new()),
                };
                match schedule.after(&mut tries, &answer, now) {
                    Next::Again(due) => {
                        prop_assert!(due > now);
                        prop_assert!(due.duration_since(now) <= schedule.waits[5].try_into().unwrap());
                        now = due;
                    }
                    Next::Aside => {
                        prop_assert_eq!(tries.refusals, 3);
                        return Ok(());
                    }
                    Next::Pause => {
                        prop_assert!(now.duration_since(tries.since.unwrap()) >= schedule.patience.try_into().unwrap());
                        return Ok(());
                    }
                    Next::Taken => prop_assert!(false, "nothing was taken"),
                }
            }
        }
    }
}
