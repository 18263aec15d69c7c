//! What needs no daemon: programs that time one part and print a JSON object.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Bench;
use super::table::{Goal, Line, Table};

#[derive(Deserialize)]
struct OfRules {
    median_us: f64,
    compiled_ms: f64,
    memory_mb: f64,
}

#[derive(Deserialize)]
struct OfRedact {
    median_ms: f64,
    segments_changed: usize,
}

#[derive(Deserialize)]
struct OfPipeline {
    function_us: f64,
    alone_us: f64,
    batched_us: f64,
}

/// What an event of 100 words costs with 5,000 rules of keyword_alert.
pub(super) fn rules(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("rules: 5,000 of them on events of 100 words");
    let timing: OfRules = time(bench, "rules_timing", &[])?;
    let mut add =
        |what: &str, measured, unit, goal| table.add(line("rules", what, measured, unit, None, goal));
    add("an event of 100 words, 5,000 rules, median", timing.median_us, "µs", Some(50.0));
    add("reading 5,000 rules", timing.compiled_ms, "ms", None);
    // The default `memory_limit` of a plugin.
    add("the most memory with them", timing.memory_mb, "MB", Some(256.0));
    Ok(())
}

/// What a final of 10,000 segments costs in redact.
pub(super) fn redact(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("redact: a final of 10,000 segments");
    let timing: OfRedact = time(bench, "redact_timing", &[])?;
    let what = format!("a final of 10,000 segments, {} of them changed", timing.segments_changed);
    table.add(line("redact", &what, timing.median_ms, "ms", None, Some(1_000.0)));
    Ok(())
}

/// What an event costs in a plugin's process.
pub(super) fn pipeline(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("pipeline: events through one plugin");
    let [harkd, plugin] = ["harkd", "libhello.so"].map(|file| bench.workspace.released(file));
    let timing: OfPipeline = time(bench, "pipeline_timing", &[harkd.as_os_str(), plugin.as_os_str()])?;
    let function = Some(("a function call", timing.function_us));
    let mut add =
        |what, measured, against, goal| table.add(line("pipeline", what, measured, "µs", against, goal));
    add("the plugin's function alone, called in one process", timing.function_us, None, None);
    for (total, added, measured, most) in [
        ("an event, alone", "of it the pipeline, alone", timing.alone_us, 100.0),
        ("an event among 256", "of it the pipeline, among 256", timing.batched_us, 2.0),
    ] {
        add(total, measured, function, None);
        add(added, measured - timing.function_us, None, Some(most));
    }
    Ok(())
}

/// Runs an example and reads what it prints.
fn time<T: DeserializeOwned>(bench: &Bench<'_>, example: &str, arguments: &[&OsStr]) -> anyhow::Result<T> {
    let mut command = Command::new(bench.workspace.released(Path::new("examples").join(example)));
    command.args(arguments).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("starting the example {example}"))?;
    ensure!(output.status.success(), "the example {example} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("reading what {example} printed"))
}

fn line(
    row: &'static str,
    what: &str,
    measured: f64,
    unit: &'static str,
    against: Option<(&'static str, f64)>,
    most: Option<f64>,
) -> Line {
    Line { row, what: what.to_owned(), measured, unit, against, goal: most.map(Goal::AtMost) }
}
