//! The figures of a run, as a table.

use std::fmt::Write;
use std::time::Duration;

use super::plan::Plan;
use crate::support::{Records, Violation};

/// Counted during the run.
#[derive(Debug)]
pub struct Figures {
    plan: Plan,
    pub kills: usize,
    pub broker_restarts: usize,
    pub broker_pauses: usize,
}

impl Figures {
    pub fn new(plan: &Plan) -> Figures {
        Figures { plan: *plan, kills: 0, broker_restarts: 0, broker_pauses: 0 }
    }

    /// The table that is printed to the terminal.
    pub fn table(&self, records: &Records, violations: &[Violation], elapsed: Duration) -> String {
        let events = |kind: &str| records.events.iter().filter(|event| event.kind() == kind).count();
        let paid = records.journal.iter().filter(|line| !line["charged_seconds"].is_null()).count();
        let faulty =
            |line: &&serde_json::Value| line["faults"].as_array().is_some_and(|played| !played.is_empty());
        let marked = records.events.iter().filter(|event| {
            event.kind().starts_with("job.")
                && event.kind() != "job.submitted"
                && event.body["possible_duplicate_charge"] == true
        });
        let mut table = String::new();
        let mut row = |what: &str, value: String| writeln!(table, "| {what:<42} | {value:>12} |").unwrap();
        row("seed", self.plan.seed.to_string());
        row("inputs", records.inputs.len().to_string());
        row("SIGKILLs of the daemon", self.kills.to_string());
        row("broker killed and restarted", self.broker_restarts.to_string());
        row("broker paused", self.broker_pauses.to_string());
        row("requests at the service", records.journal.len().to_string());
        row("of these with a fault", records.journal.iter().filter(faulty).count().to_string());
        row("paid recognitions", paid.to_string());
        row("pieces heard", events("transcript.segment").to_string());
        let heard_again = violations.iter().filter(|one| matches!(one, Violation::HeardAgain { .. }));
        row("heard pieces paid again", heard_again.count().to_string());
        row("jobs completed", events("job.completed").to_string());
        row("jobs failed", events("job.failed").to_string());
        row("jobs marked possible_duplicate_charge", marked.count().to_string());
        row("events stored", records.events.len().to_string());
        row("last job ended after the faults", format!("{:.1} s", records.ended_after.as_secs_f64()));
        row("whole run", format!("{:.1} s", elapsed.as_secs_f64()));
        row("violations of L1 to L9", violations.len().to_string());
        table
    }
}
