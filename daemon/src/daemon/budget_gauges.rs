//! What `/metrics` says of the day's budget.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::job::ledger::spend::{DaySpent, dollars};
use crate::telemetry::metrics::Metrics;

/// The label of what all sources may spend together; no source has brackets in its name.
const DAEMON: &str = "[daemon]";

/// Knows which budgets `/metrics` shows, so that those that a reload takes away disappear from it.
#[derive(Debug, Default)]
pub(super) struct BudgetGauges {
    shown: BTreeSet<String>,
}

impl BudgetGauges {
    /// Shows every limit of the config and what is `spent` of it today.
    pub(super) fn show(&mut self, metrics: &Metrics, config: &Config, spent: &[DaySpent]) {
        let sources = config.source.iter().map(|source| (source.name(), source.daily_usd()));
        let limits = sources.chain([(DAEMON, config.budget.daily_usd)]).filter(|(_, usd)| *usd > 0.0);
        let mut shown = BTreeSet::new();
        for (name, limit) in limits {
            let counts = |spent: &&DaySpent| name == DAEMON || spent.source == name;
            metrics.budget_usd.with_label_values(&[name]).set(limit);
            let usd = dollars(spent.iter().filter(counts));
            metrics.budget_spent_usd.with_label_values(&[name]).set(usd);
            shown.insert(name.to_owned());
        }
        for gone in self.shown.difference(&shown) {
            for gauge in [&metrics.budget_usd, &metrics.budget_spent_usd] {
                // It was shown, so it is there.
                let _ = gauge.remove_label_values(&[gone]);
            }
        }
        self.shown = shown;
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn spent(source: &str, recognizer: &str, micro: i64) -> DaySpent {
        let (source, recognizer) = (source.to_owned(), recognizer.to_owned());
        DaySpent { day: date(2026, 11, 30), source, recognizer, micro }
    }

    fn lines(metrics: &Metrics) -> Vec<String> {
        let page = metrics.page();
        page.lines().filter(|line| line.starts_with("hark_budget_")).map(str::to_owned).collect()
    }

    #[test]
    fn each_limit_has_what_is_spent_of_it_and_goes_with_it() {
        let (metrics, mut gauges) = (Metrics::new(), BudgetGauges::default());
        let mut config = Config::default();
        gauges.show(&metrics, &config, &[]);
        assert_eq!(lines(&metrics), Vec::<String>::new(), "nothing is limited");

        config.budget.daily_usd = 5.0;
        let today = [
            spent("calls", "flash", 250_000),
            spent("calls", "filetrans", 1_000_000),
            spent("inbox", "flash", 2_000_000),
        ];
        gauges.show(&metrics, &config, &today);
        assert_eq!(
            lines(&metrics),
            ["hark_budget_spent_usd{source=\"[daemon]\"} 3.25", "hark_budget_usd{source=\"[daemon]\"} 5"]
        );

        config.budget.daily_usd = 0.0;
        gauges.show(&metrics, &config, &today);
        assert_eq!(lines(&metrics), Vec::<String>::new(), "the limit is gone");
    }
}
