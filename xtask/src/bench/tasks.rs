//! Many tasks in flight: their memory, and how often the service is queried.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::Bench;
use super::memory;
use super::recordings::Recordings;
use super::scene::{Scene, Setup};
use super::table::{Goal, Line, Table};

/// Long enough that all of them are in flight before the first one ends.
const TASK_DELAY: &str = "60s";

/// A line of the emulator's journal.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    time: String,
    kind: String,
    outcome: String,
    task_id: Option<String>,
    task_status: Option<String>,
}

impl Entry {
    /// Seconds since midnight.
    fn seconds(&self) -> anyhow::Result<f64> {
        // 2026-11-23T08:15:04.114Z
        let clock =
            self.time.get(11..).map(|time| time.trim_end_matches('Z').split(':').map(str::parse::<f64>));
        match clock.map(Iterator::collect::<Vec<_>>).as_deref() {
            Some([Ok(hours), Ok(minutes), Ok(seconds)]) => Ok(hours * 3600.0 + minutes * 60.0 + seconds),
            _ => bail!("the journal has a time that is none: {}", self.time),
        }
    }
}

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    let tasks = bench.options.tasks;
    bench.say(&format!("tasks: {tasks}, each {TASK_DELAY} (some minutes)"));
    let scene = Scene::set(bench, &["--task-delay", TASK_DELAY])?;
    let mut recordings = Recordings::make(scene.folder(), tasks, 1)?;
    let mut listener = scene.floor(&["count", "--jobs", &tasks.to_string()])?;
    listener.line()?;
    let harkd = scene.harkd(&Setup { engine: "filetrans", plugin: true, ..Setup::default() })?;
    recordings.drop_into(&scene.calls())?;
    let mut most = 0;
    let ended = listener.line_while(|| {
        most = most.max(harkd.tree()?.memory()?);
        Ok(())
    })?;
    ensure!(ended.contains("\"failed\":0"), "not every task was followed to its end: {ended}");

    let journal = scene.journal()?;
    let entries: Vec<Entry> =
        journal.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("reading the journal")?;
    let submits = entries.iter().filter(|entry| entry.kind == "submit" && entry.outcome == "ok").count();
    ensure!(submits == tasks, "{submits} submits for {tasks} files");
    table.add(memory::line(
        "tasks",
        &format!("memory with {} tasks in flight", in_flight(&entries)),
        most,
        45.0,
    ));
    table.add(Line {
        row: "tasks",
        what: "queries, in the busiest second".into(),
        measured: queries_in_busiest_second(&entries) as f64,
        unit: "/s",
        against: None,
        goal: Some(Goal::AtMost(20.0)),
    });
    table.add(Line {
        row: "tasks",
        what: "a task's end is noticed, p99".into(),
        measured: slowest_to_be_noticed(&entries)?,
        unit: "s",
        against: None,
        goal: Some(Goal::AtMost(60.0)),
    });
    Ok(())
}

/// Seconds from a task's end to the query that reported it; the value that one in a hundred exceeds.
fn slowest_to_be_noticed(entries: &[Entry]) -> anyhow::Result<f64> {
    const DAY: f64 = 86_400.0;
    let mut ends: HashMap<&str, f64> = HashMap::new();
    let mut waits = Vec::new();
    for entry in entries {
        let Some(task) = entry.task_id.as_deref() else { continue };
        if entry.kind == "task" {
            ends.insert(task, entry.seconds()?);
        } else if entry.kind == "query"
            && entry.task_status.as_deref() == Some("SUCCEEDED")
            && let Some(end) = ends.remove(task)
        {
            waits.push((entry.seconds()? - end).rem_euclid(DAY));
        }
    }
    ensure!(!waits.is_empty(), "no task ended");
    waits.sort_by(f64::total_cmp);
    Ok(waits[(waits.len() - 1) * 99 / 100])
}

/// The highest number that were submitted and had not ended.
fn in_flight(entries: &[Entry]) -> i64 {
    let steps = entries.iter().map(|entry| match entry.kind.as_str() {
        "submit" => 1,
        "task" => -1,
        _ => 0,
    });
    let running = steps.scan(0_i64, |sum, step| {
        *sum += step;
        Some(*sum)
    });
    running.max().unwrap_or(0)
}

fn queries_in_busiest_second(entries: &[Entry]) -> u64 {
    let mut seconds: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| matches!(entry.kind.as_str(), "query" | "list")) {
        // 2026-11-23T08:15:04
        *seconds.entry(entry.time.get(..19).unwrap_or(&entry.time)).or_default() += 1;
    }
    seconds.into_values().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_asked_in_a_second_and_what_was_in_flight() {
        let entry = |time: &str, kind: &str| Entry {
            time: time.into(),
            kind: kind.into(),
            task_id: Some("one".into()),
            task_status: Some("SUCCEEDED".into()),
            ..Entry::default()
        };
        let entries = [
            entry("2026-11-23T08:15:04.1Z", "submit"),
            entry("2026-11-23T08:15:04.2Z", "submit"),
            entry("2026-11-23T08:15:04.8Z", "query"),
            entry("2026-11-23T08:15:04.9Z", "task"),
            entry("2026-11-23T08:15:05.1Z", "query"),
            entry("2026-11-23T08:15:05.2Z", "query"),
        ];
        assert_eq!(in_flight(&entries), 2);
        assert_eq!(queries_in_busiest_second(&entries), 2);
        let wait = slowest_to_be_noticed(&entries).expect("a wait");
        assert!((wait - 0.2).abs() < 1e-6, "{wait}");
    }
}
