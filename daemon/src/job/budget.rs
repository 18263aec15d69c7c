//! What this daemon may spend in a UTC day. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, Fault};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::fault;
use crate::config::Config;

/// The code of a request that the budget does not allow.
const CODE: &str = "OverBudget";

const DAY: i64 = 24 * 3600;

/// What may be spent in a UTC day, in millionths of a dollar. Clones share the table.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<Limits>);

#[derive(Debug, Default)]
struct Limits {
    /// `budget.daily_usd`.
    daemon: Option<u64>,
    /// `daily_usd` of sources that have one.
    sources: BTreeMap<String, u64>,
}

/// Why the budget does not allow a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum OverBudget {
    /// The rest of the day's budget is too small for it.
    Today { fault: Fault, retry_in: Duration },
    /// It costs more than a whole day's budget.
    AnyDay(Fault),
}

/// What was spent in a day, reservations included, in millionths of a dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// By all sources.
    pub daemon: u64,
    /// By the source in question.
    pub source: u64,
}

/// The UTC day of a time, counted from the epoch.
pub(super) fn day(time: Timestamp) -> i64 {
    time.as_second().div_euclid(DAY)
}

/// The date of a UTC day that is counted from the epoch.
pub(super) fn date(day: i64) -> Date {
    let begin = Timestamp::from_second(day.saturating_mul(DAY)).unwrap_or(Timestamp::MIN);
    begin.to_zoned(TimeZone::UTC).date()
}

impl Budget {
    /// `[budget]` and `[[source]] daily_usd`.
    pub fn of_config(config: &Config) -> Budget {
        let micro = |usd: f64| (usd > 0.0).then(|| (usd * 1e6).round() as u64);
        let sources = config.source.iter();
        Budget(Arc::new(Limits {
            daemon: micro(config.budget.daily_usd),
            sources: sources
                .filter_map(|source| Some((source.name().to_owned(), micro(source.daily_usd())?)))
                .collect(),
        }))
    }

    /// Whether what this source spends is limited.
    pub fn limits(&self, source: &str) -> bool {
        self.0.daemon.is_some() || self.0.sources.contains_key(source)
    }

    /// Why a request that is estimated at `request` must not be sent after `spent`; `None`: it may be sent.
    pub(super) fn refusal(
        &self,
        source: &str,
        spent: Spent,
        request: u64,
        now: Timestamp,
    ) -> Option<OverBudget> {
        // A request that costs nothing has nothing to wait for.
        if request == 0 {
            return None;
        }
        let of_source =
            self.0.sources.get(source).map(|limit| (*limit, spent.source, "the source's daily_usd"));
        let of_daemon = self.0.daemon.map(|limit| (limit, spent.daemon, "budget.daily_usd"));
        let (limit, spent, key) = [of_source, of_daemon]
            .into_iter()
            .flatten()
            .filter(|(limit, spent, _)| spent.saturating_add(request) > *limit)
            .min_by_key(|(limit, ..)| *limit)?;
        if request > limit {
            let message = format!(
                "the request is estimated at {} and {key} is {}; raise it and send the recording again",
                usd(request),
                usd(limit)
            );
            return Some(OverBudget::AnyDay(over(message)));
        }
        let message = format!(
            "{} of {key}, {}, are spent or reserved, and the request is estimated at {}; the job waits for the next UTC day",
            usd(spent),
            usd(limit),
            usd(request)
        );
        Some(OverBudget::Today { fault: over(message), retry_in: until_next_day(now) })
    }
}

fn over(message: String) -> Fault {
    fault(CODE, Blame::Account, message)
}

fn usd(micro: u64) -> String {
    format!("${:.6}", micro as f64 / 1e6)
}

fn until_next_day(now: Timestamp) -> Duration {
    let midnight = Timestamp::from_second((day(now) + 1) * DAY).unwrap_or(Timestamp::MAX);
    Duration::try_from(midnight.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(daemon: u64, source: u64) -> Budget {
        let limit = |micro| (micro > 0).then_some(micro);
        let sources = limit(source).map(|micro| ("calls".to_owned(), micro)).into_iter().collect();
        Budget(Arc::new(Limits { daemon: limit(daemon), sources }))
    }

    /// `daemon` and `source`: limit, spent.
    fn decided(daemon: (u64, u64), source: (u64, u64), request: u64) -> String {
        let noon = Timestamp::from_second(10 * DAY + 12 * 3600).unwrap();
        let spent = Spent { daemon: daemon.1, source: source.1 };
        match budget(daemon.0, source.0).refusal("calls", spent, request, noon) {
            None => "sent".into(),
            Some(OverBudget::Today { fault, retry_in }) => {
                assert_eq!((fault.blame, retry_in), (Blame::Account, Duration::from_secs(12 * 3600)));
                format!("waits: {}", fault.message.split(',').next().unwrap())
            }
            Some(OverBudget::AnyDay(fault)) => format!("fails: {}", fault.message.split(';').next().unwrap()),
        }
    }

    #[test]
    fn a_request_is_sent_only_if_all_of_it_fits_into_the_days_rest() {
        assert_eq!(decided((0, 5_000_000), (0, 0), 9_000_000), "sent");
        assert_eq!(decided((100, 60), (0, 0), 40), "sent");
        assert_eq!(decided((100, 61), (0, 0), 40), "waits: $0.000061 of budget.daily_usd");
        assert_eq!(decided((100, 150), (0, 0), 0), "sent", "a server of one's own costs nothing");
        assert_eq!(decided((100, 60), (50, 20), 40), "waits: $0.000020 of the source's daily_usd");
        assert_eq!(decided((100, 60), (50, 10), 40), "sent");
    }

    #[test]
    fn a_request_that_no_day_allows_fails() {
        let fails = "fails: the request is estimated at $0.000101 and budget.daily_usd is $0.000100";
        assert_eq!(decided((100, 0), (0, 0), 101), fails);
        assert_eq!(decided((100, 0), (1_000, 1_000), 101), fails);
    }

    #[test]
    fn a_day_is_a_day_of_utc() {
        let at = |second| day(Timestamp::from_second(second).unwrap());
        assert_eq!([at(0), at(DAY - 1), at(DAY), at(-1)], [0, 0, 1, -1]);
    }
}
