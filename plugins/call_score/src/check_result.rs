//! What came of a check, and of all of them.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::config::Config;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckResult {
    /// `None`: it could not be measured.
    pub(crate) passed: Option<bool>,
    /// Why, for a person: figures, segments, seconds.
    pub(crate) why: String,
}

impl CheckResult {
    pub(crate) fn of(passed: bool, why: String) -> CheckResult {
        CheckResult { passed: Some(passed), why }
    }

    pub(crate) fn not_measured(why: impl Display) -> CheckResult {
        CheckResult { passed: None, why: format!("not measured: {why}") }
    }
}

/// The score sheet, as it is published. What could not be measured is left out of the sum; if nothing could, there is no score.
pub(crate) fn sheet(config: &Config, verdicts: &[CheckResult]) -> Value {
    let of = |wanted: fn(&CheckResult) -> bool| -> f64 {
        let counted = config.checks.iter().zip(verdicts).filter(|(_, verdict)| wanted(verdict));
        counted.filter_map(|(check, _)| check.weight).sum()
    };
    let (reached, possible) =
        (of(|verdict| verdict.passed == Some(true)), of(|verdict| verdict.passed.is_some()));
    let is_fatal = config
        .checks
        .iter()
        .zip(verdicts)
        .any(|(check, verdict)| check.fatal && verdict.passed == Some(false));
    let score = match possible {
        _ if is_fatal => Some(0.0),
        0.0 => None,
        possible => Some(reached * 100.0 / possible),
    };
    // Rounding: a score that is below the limit only by the error of floating-point arithmetic passes.
    let passed = score.map(|score| !is_fatal && score >= config.pass - 1e-9);
    let check = |(check, verdict): (&crate::config::Check, &CheckResult)| json!({ "name": check.name, "weight": round(check.weight.unwrap_or(0.0)), "passed": verdict.passed, "why": verdict.why });
    let checks: Vec<Value> = config.checks.iter().zip(verdicts).map(check).collect();
    json!({ "score": score.map(round), "passed": passed, "checks": checks })
}

/// A figure with at most one decimal; a whole one has none.
pub(crate) fn round(figure: f64) -> serde_json::Number {
    let tenths = (figure * 10.0).round();
    match tenths % 10.0 {
        0.0 => serde_json::Number::from((tenths / 10.0) as i64),
        _ => serde_json::Number::from_f64(tenths / 10.0).unwrap_or_else(|| 0.into()),
    }
}

/// A time in seconds, such as `61.2 s`.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{} s", round(ms as f64 / 1_000.0))
}
