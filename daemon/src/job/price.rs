//! What recognition costs, in integers: a price is billionths of a dollar for a second, a bill millionths of a dollar.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Prices by recognizer. Clones share the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices(Arc<Table>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    by_recognizer: BTreeMap<String, u64>,
    otherwise: u64,
}

impl Prices {
    /// Billionths of a dollar for a second of audio, by recognizer; `otherwise` for a recognizer that is not named.
    pub fn new(by_recognizer: BTreeMap<String, u64>, otherwise: u64) -> Prices {
        Prices(Arc::new(Table { by_recognizer, otherwise }))
    }

    /// Whether a second costs nothing: then a request that was lost may be sent again as often as it takes.
    pub fn is_free(&self, recognizer: &str) -> bool {
        self.0.by_recognizer.get(recognizer) == Some(&0)
    }

    /// Billionths of a dollar for a second of audio with this recognizer.
    pub fn nano_per_second(&self, recognizer: &str) -> u64 {
        self.0.by_recognizer.get(recognizer).copied().unwrap_or(self.0.otherwise)
    }

    /// The price of so many seconds in millionths of a dollar, rounded to the nearest.
    pub fn cost_micro(&self, recognizer: &str, seconds: u64) -> u64 {
        seconds.saturating_mul(self.nano_per_second(recognizer)).saturating_add(500) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_rounded_to_a_millionth_and_priced_by_recognizer() {
        let prices = Prices::new(BTreeMap::from([("other".into(), 12_300)]), 35_000);
        assert_eq!(prices.cost_micro("flash", 7), 245);
        assert_eq!(prices.cost_micro("other", 1), 12);
        assert_eq!(prices.cost_micro("other", 5), 62, "61.5 is rounded up");
        assert_eq!(Prices::default().cost_micro("free", 1_000_000), 0);
    }
}
