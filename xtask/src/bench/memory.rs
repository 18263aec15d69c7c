//! The memory of harkd and its children: idle, and during a large upload.

use std::time::Duration;

use super::Bench;
use super::recordings::{self, Recordings};
use super::scene::{Scene, Setup};
use super::table::{Goal, Line, Table};

const MB: f64 = 1e6;

/// Long enough for harkd to return the memory that its start took.
const REST: Duration = Duration::from_secs(2);

/// With one plugin, after the first recording: by then every process has been started.
pub(super) fn idle(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("idle: one plugin, one recording");
    let scene = Scene::set(bench, &[])?;
    let mut recordings = Recordings::make(scene.folder(), 1, 10)?;
    let mut listener = scene.floor(&["count", "--jobs", "1"])?;
    listener.line()?;
    let harkd = scene.harkd(&Setup { plugin: true, ..Setup::default() })?;
    bench.interrupt.sleep(REST)?;
    let fresh = harkd.tree()?.memory()?;
    recordings.drop_into(&scene.calls())?;
    listener.line()?;
    bench.interrupt.sleep(REST)?;
    let tree = harkd.tree()?;
    let memory = tree.memory()?;
    table.add(line("idle", "memory with one plugin, in all", memory, 20.0));
    table.remark(format!(
        "idle: {} processes; {:.1} MB before the first recording",
        tree.processes.len(),
        fresh as f64 / MB
    ));
    Ok(())
}

/// The most at any moment while a file goes through filetrans' temporary upload.
pub(super) fn upload(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("upload: one large file");
    let scene = Scene::set(bench, &["--task-delay", "1s"])?;
    let file = scene.path("large.wav");
    recordings::silent(&file, bench.options.upload)?;
    let mut listener = scene.floor(&["count", "--jobs", "1"])?;
    listener.line()?;
    let harkd = scene.harkd(&Setup { engine: "filetrans", plugin: true, ..Setup::default() })?;
    std::fs::rename(&file, scene.calls().join("large.wav"))?;
    let mut most = 0;
    let ended = listener.line_while(|| {
        most = most.max(harkd.tree()?.memory()?);
        Ok(())
    })?;
    anyhow::ensure!(ended.contains("\"failed\":0"), "the upload's job failed");
    let what = format!("memory with a {:.1} GB upload", bench.options.upload as f64 / 1e9);
    table.add(line("upload", &what, most, 60.0));
    Ok(())
}

/// A line in MB.
pub(super) fn line(row: &'static str, what: &str, bytes: u64, most: f64) -> Line {
    Line {
        row,
        what: what.to_owned(),
        measured: bytes as f64 / MB,
        unit: "MB",
        against: None,
        goal: Some(Goal::AtMost(most)),
    }
}
