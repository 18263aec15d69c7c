//! The results, what they are compared with, and whether the goal is reached.

use std::fmt;

use serde_json::{Value, json};

use crate::terminal;

/// One line.
pub(super) struct Line {
    pub(super) row: &'static str,
    pub(super) what: String,
    pub(super) measured: f64,
    pub(super) unit: &'static str,
    /// The same for the contender that it is compared with.
    pub(super) against: Option<(&'static str, f64)>,
    pub(super) goal: Option<Goal>,
}

/// The goal of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// For the measured value, as the next one is.
    AtMost(f64),
    AtLeast(f64),
    /// For the difference to the other value.
    AddsAtMost(f64),
    /// For the ratio of measured to other.
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

#[derive(Default)]
pub(super) struct Table {
    lines: Vec<Line>,
    remarks: Vec<String>,
}

impl Line {
    fn ratio(&self) -> Option<f64> {
        self.against.map(|(_, other)| self.measured / other)
    }

    fn reached(&self) -> Option<bool> {
        let (other, ratio) = (self.against.map_or(0.0, |(_, other)| other), self.ratio().unwrap_or(0.0));
        self.goal.map(|goal| match goal {
            Goal::AtMost(most) => self.measured <= most,
            Goal::AtLeast(least) => self.measured >= least,
            Goal::AddsAtMost(most) => self.measured - other <= most,
            Goal::RatioAtMost(most) => ratio <= most,
            Goal::RatioAtLeast(least) => ratio >= least,
        })
    }

    fn goal(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(Goal::AtMost(most)) => format!("≤ {} {}", number(most), self.unit),
            Some(Goal::AtLeast(least)) => format!("≥ {} {}", number(least), self.unit),
            Some(Goal::AddsAtMost(most)) => format!("adds ≤ {} {}", number(most), self.unit),
            Some(Goal::RatioAtMost(most)) => format!("≤ {} ×", number(most)),
            Some(Goal::RatioAtLeast(least)) => format!("≥ {} ×", number(least)),
        }
    }
}

impl Table {
    pub(super) fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// A sentence below the table.
    pub(super) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    pub(super) fn to_json(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "row": line.row, "what": line.what, "measured": line.measured, "unit": line.unit,
                    "against": line.against.map(|(name, _)| name), "other": line.against.map(|(_, other)| other),
                    "ratio": line.ratio(), "goal": line.goal(), "reached": line.reached(),
                })
            })
            .collect();
        json!({"lines": lines, "remarks": self.remarks})
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["row", "what", "measured", "against", "ratio", "goal", ""].map(str::to_owned);
        let rows: Vec<[String; 7]> = self.lines.iter().map(cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|cells| &cells[column]);
            cells.chain([&heads[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        let padded = |cells: &[String; 7]| {
            let cells = cells.iter().zip(widths).map(|(cell, width)| {
                format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count())))
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        writeln!(f, "{}", terminal::bold(&padded(&heads)))?;
        for (line, cells) in self.lines.iter().zip(&rows) {
            let text = padded(cells);
            match line.reached() {
                Some(true) => writeln!(f, "{}", text.replace("reached", &terminal::green("reached")))?,
                Some(false) => writeln!(f, "{}", text.replace("MISSED", &terminal::red("MISSED")))?,
                None => writeln!(f, "{text}")?,
            }
        }
        self.remarks.iter().try_for_each(|remark| writeln!(f, "{}", terminal::dim(remark)))
    }
}

fn cells(line: &Line) -> [String; 7] {
    let against = line.against.map(|(name, other)| format!("{} {name}", number(other)));
    let verdict = match line.reached() {
        None => "",
        Some(true) => "reached",
        Some(false) => "MISSED",
    };
    [
        line.row.to_owned(),
        line.what.clone(),
        format!("{} {}", number(line.measured), line.unit),
        against.unwrap_or_default(),
        line.ratio().map(|ratio| format!("{} ×", number(ratio))).unwrap_or_default(),
        line.goal(),
        verdict.to_owned(),
    ]
}

/// Three significant digits.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(measured: f64, other: f64, goal: Goal) -> Line {
        let against = Some(("a bare loop", other));
        Line { row: "files", what: "CPU a file".into(), measured, unit: "ms", against, goal: Some(goal) }
    }

    #[test]
    fn says_what_was_reached_and_what_was_missed() {
        assert_eq!(line(3.0, 2.0, Goal::RatioAtMost(2.0)).reached(), Some(true));
        assert_eq!(line(4.1, 2.0, Goal::RatioAtMost(2.0)).reached(), Some(false));
        assert_eq!(line(200.0, 42.0, Goal::RatioAtLeast(5.0)).reached(), Some(false));
        assert_eq!(line(1.2, 0.3, Goal::AddsAtMost(1.0)).reached(), Some(true));
        assert_eq!(line(31.0, 1.0, Goal::AtMost(30.0)).reached(), Some(false));
    }

    #[test]
    fn the_columns_stand_under_each_other() {
        let mut table = Table::default();
        table.add(line(3.0, 2.0, Goal::RatioAtMost(2.0)));
        table.add(line(1234.5, 2.0, Goal::AtMost(1.0)));
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "files  CPU a file  3 ms      2 a bare loop  1.5 ×  ≤ 2 ×   reached");
        assert!(lines[2].ends_with("≤ 1 ms  MISSED"), "{text}");
    }
}
