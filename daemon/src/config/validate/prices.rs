//! `[[price]]` and the budgets: amounts of money.

use globset::GlobBuilder;

use crate::config::report::Report;
use crate::config::{Config, DEAREST};

/// More is a mistake, and sums of it might overflow.
const LARGEST_BUDGET: f64 = 1e9;

pub(super) fn prices(config: &Config, report: &mut Report<'_>) {
    for (index, price) in config.price.iter().enumerate() {
        let mut refuse = |key: &str, text: String| report.mistake(&format!("price.{index}.{key}"), text);
        let model = &price.model;
        if model.is_empty() {
            refuse("model", "model of a [[price]] is empty; write a glob over names of models: \"*\"".into());
        } else if let Err(error) = GlobBuilder::new(model).build() {
            refuse("model", format!("model has {model:?}, which is not a glob: {}", error.kind()));
        }
        for (key, usd, dearest) in [
            ("usd_per_second", price.usd_per_second, DEAREST),
            ("usd_per_million_input_tokens", price.usd_per_million_input_tokens, DEAREST * 1e6),
            ("usd_per_million_output_tokens", price.usd_per_million_output_tokens, DEAREST * 1e6),
        ] {
            if !(0.0..=dearest).contains(&usd) {
                refuse(key, format!("{key} = {usd} of [[price]] {model:?} is no price; write 0.0 or more"));
            }
        }
    }
    let sources = config.source.iter().enumerate();
    let of_sources = sources.map(|(index, source)| (format!("source.{index}.daily_usd"), source.daily_usd()));
    for (path, usd) in of_sources.chain([("budget.daily_usd".into(), config.budget.daily_usd)]) {
        if !(0.0..=LARGEST_BUDGET).contains(&usd) {
            report.mistake(
                &path,
                format!("daily_usd = {usd} is no budget; write dollars a day, or 0.0 for no limit"),
            );
        }
    }
}
