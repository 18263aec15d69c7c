//! What recognition costs, in integers: a price is billionths of a dollar for a second, a bill millionths of a dollar.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Prices by model. Clones share the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices(Arc<Table>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    by_model: BTreeMap<String, u64>,
    otherwise: u64,
}

impl Prices {
    /// Billionths of a dollar for a second of audio, by model; `otherwise` for a model that is not named.
    pub fn new(by_model: BTreeMap<String, u64>, otherwise: u64) -> Prices {
        Prices(Arc::new(Table { by_model, otherwise }))
    }

    /// Billionths of a dollar for a second of audio with this model.
    pub fn nano_per_second(&self, model: &str) -> u64 {
        self.0.by_model.get(model).copied().unwrap_or(self.0.otherwise)
    }

    /// The price of so many seconds in millionths of a dollar, rounded to the nearest.
    pub fn cost_micro(&self, model: &str, seconds: u64) -> u64 {
        seconds.saturating_mul(self.nano_per_second(model)).saturating_add(500) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_rounded_to_a_millionth_and_priced_by_model() {
        let prices = Prices::new(BTreeMap::from([("other".into(), 12_300)]), 35_000);
        assert_eq!(prices.cost_micro("qwen3-asr-flash", 7), 245);
        assert_eq!(prices.cost_micro("other", 1), 12);
        assert_eq!(prices.cost_micro("other", 5), 62, "61.5 is rounded up");
        assert_eq!(Prices::default().cost_micro("free", 1_000_000), 0);
    }
}
