//! The list of jobs as a table for spreadsheets.

use crate::job::ledger::view::Page;

/// The columns, in order.
const COLUMNS: [&str; 16] = [
    "job",
    "source",
    "state",
    "route",
    "name",
    "accepted",
    "ended",
    "duration_ms",
    "engine",
    "model",
    "language",
    "emotion",
    "alerts",
    "cost_usd",
    "error",
    "text",
];

/// The page as CSV (RFC 4180), with a line of names. No cell begins as a formula does.
pub fn csv(page: &Page) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let mut lines = vec![COLUMNS.map(str::to_owned).to_vec()];
    lines.extend(page.jobs.iter().map(|job| {
        let alerts: Vec<&str> = job.alerts.iter().map(|alert| alert.rule.as_str()).collect();
        vec![
            job.job.to_string(),
            job.source.clone(),
            job.state.as_str().to_owned(),
            job.route.clone(),
            job.name.clone().unwrap_or_default(),
            job.accepted.to_string(),
            job.ended.map(|ended| ended.to_string()).unwrap_or_default(),
            job.duration_ms.map(|duration| duration.to_string()).unwrap_or_default(),
            job.engine.clone().unwrap_or_default(),
            job.model.clone().unwrap_or_default(),
            job.language.clone().unwrap_or_default(),
            job.emotion.clone().unwrap_or_default(),
            alerts.join(" "),
            job.cost_usd.map(|cost| cost.to_string()).unwrap_or_default(),
            job.error.as_ref().map(|error| error.code.clone()).unwrap_or_default(),
            job.text.clone().unwrap_or_default(),
        ]
    }));
    for line in lines {
        // Writing into memory does not fail.
        let _ = writer.write_record(line.iter().map(|cell| harmless(cell)));
    }
    writer.into_inner().unwrap_or_default()
}

/// A cell that a spreadsheet does not take for a formula: callers choose the names of their recordings and what they say.
fn harmless(cell: &str) -> String {
    match cell.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{cell}"),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for cell in ["=1+1", "+49 30", "-1", "@SUM(A1)", "\t=1"] {
            assert_eq!(harmless(cell), format!("'{cell}"));
        }
        assert_eq!(harmless("a=1"), "a=1");
    }

    #[test]
    fn an_empty_page_has_its_line_of_names() {
        let text = String::from_utf8(csv(&Page { jobs: Vec::new(), next: None })).unwrap();
        assert!(text.starts_with("job,source,state,") && text.ends_with("text\r\n"), "{text}");
    }
}
