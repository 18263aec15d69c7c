//! Twelve hours in pieces: the memory of all processes, and how soon the first piece is sent.

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::scene::{Scene, Setup};
use super::table::{Goal, Line, Table};
use super::{Bench, ffmpeg, memory};

const TWELVE_HOURS: u64 = 12 * 3_600;

/// What the listener prints when the first piece was submitted.
#[derive(Deserialize)]
struct Begun {
    accepted_ns: u64,
    submitted_ns: u64,
}

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("long: 12 h of mp3 in pieces (some minutes)");
    let scene = Scene::set(bench, &[])?;
    let file = ffmpeg::make(bench, &scene.path("day.mp3"), TWELVE_HOURS, &["-c", "copy"])?;
    let mut begin = scene.floor(&["begin"])?;
    let mut end = scene.floor(&["count", "--jobs", "1"])?;
    begin.line()?;
    end.line()?;
    let harkd = scene.harkd(&Setup { engine: "flash", ..Setup::default() })?;
    std::fs::rename(file, scene.calls().join("day.mp3"))?;
    let mut most = 0;
    let mut look = || -> anyhow::Result<()> {
        most = most.max(harkd.tree()?.memory()?);
        Ok(())
    };
    let begun: Begun =
        serde_json::from_str(&begin.line_while(&mut look)?).context("reading when the job began")?;
    let ended = end.line_while(&mut look)?;
    ensure!(ended.contains("\"failed\":0"), "the job failed");
    table.add(memory::line("long", "memory with 12 h of mp3 in pieces", most, 80.0));
    table.add(Line {
        row: "long",
        what: "from job.accepted to job.submitted".into(),
        measured: begun.submitted_ns.saturating_sub(begun.accepted_ns) as f64 / 1e9,
        unit: "s",
        against: None,
        goal: Some(Goal::AtMost(10.0)),
    });
    Ok(())
}
