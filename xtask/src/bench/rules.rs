//! What an event of 100 words costs with 5,000 rules of keyword_alert, without a daemon around it.

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Bench;
use super::table::{Goal, Line, Table};

/// What the timing program prints.
#[derive(Deserialize)]
struct Timing {
    median_us: f64,
    compiled_ms: f64,
    memory_mb: f64,
}

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("rules: 5,000 of them on events of 100 words");
    let run = ["run", "--release", "--quiet", "--package", "hark-rules", "--example", "timing"];
    let output = bench.workspace.cargo(&run).stderr(std::process::Stdio::inherit()).output();
    let output = output.context("starting the timing of the rules")?;
    ensure!(output.status.success(), "the timing of the rules ended with {}", output.status);
    let timing: Timing = serde_json::from_slice(&output.stdout).context("reading the timing of the rules")?;
    let mut add = |what: &str, measured, unit, goal: Option<Goal>| {
        table.add(Line { row: "rules", what: what.to_owned(), measured, unit, against: None, goal });
    };
    add("an event of 100 words, 5,000 rules, median", timing.median_us, "µs", Some(Goal::AtMost(50.0)));
    add("reading 5,000 rules", timing.compiled_ms, "ms", None);
    // The default `memory_limit` of a plugin.
    add("the most memory with them", timing.memory_mb, "MB", Some(Goal::AtMost(256.0)));
    Ok(())
}
