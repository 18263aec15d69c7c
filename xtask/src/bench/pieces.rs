//! Half an hour through flash in pieces: CPU and memory against qwen3-asr-toolkit, the model's own Python tool for long recordings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use super::Bench;
use super::ffmpeg;
use super::scene::{Scene, Setup};
use super::table::{Goal, Line, Table};
use super::tree::Tree;
use crate::python;

const HALF_AN_HOUR: u64 = 1_800;

/// Both contenders send so many requests at a time.
const CONCURRENCY: usize = 4;

struct Effort {
    cpu: Duration,
    /// The most at any moment, in bytes.
    memory: u64,
}

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("pieces: qwen3-asr-toolkit (its environment has 6 GB, of which torch is most)");
    let scene = Scene::set(bench, &[])?;
    let file = recording(bench, &scene)?;
    let toolkit = toolkit(bench, &scene, &file)?;
    bench.say("pieces: harkd");
    let scene = Scene::set(bench, &[])?;
    let file = recording(bench, &scene)?;
    let harkd = harkd(&scene, &file)?;
    let line = |what: &str, unit, of: fn(&Effort) -> f64, most| Line {
        row: "pieces",
        what: format!("{what}, 30 min of WAV in pieces"),
        measured: of(&harkd),
        unit,
        against: Some(("qwen3-asr-toolkit", of(&toolkit))),
        goal: Some(Goal::RatioAtMost(most)),
    };
    table.add(line("CPU", "s", |effort| effort.cpu.as_secs_f64(), 1.0 / 30.0));
    table.add(line("memory at most", "MB", |effort| effort.memory as f64 / 1e6, 1.0 / 20.0));
    table.remark("pieces: the toolkit's CPU includes its start, as it runs once for a file".into());
    Ok(())
}

fn recording(bench: &Bench<'_>, scene: &Scene<'_>) -> anyhow::Result<PathBuf> {
    ffmpeg::make(bench, &scene.path("talk.wav"), HALF_AN_HOUR, &["-ar", "16000", "-ac", "1"])
}

fn toolkit(bench: &Bench<'_>, scene: &Scene<'_>, file: &Path) -> anyhow::Result<Effort> {
    // Torch is too large for the environment that every row has.
    let environment = python::environment_in(&bench.workspace.tools().join("qwen3-asr-toolkit"))?;
    environment.install_all(bench.workspace, "xtask/src/bench/toolkit-requirements.txt")?;
    let mut toolkit = scene.toolkit(&environment.interpreter(), file)?;
    let mut memory = 0;
    let root = toolkit.id();
    toolkit.line_while(|| {
        memory = memory.max(Tree::of(root)?.memory()?);
        Ok(())
    })?;
    Ok(Effort { cpu: toolkit.tree()?.cpu()?, memory })
}

fn harkd(scene: &Scene<'_>, file: &Path) -> anyhow::Result<Effort> {
    let mut listener = scene.floor(&["count", "--jobs", "1"])?;
    listener.line()?;
    let mut harkd = scene.harkd(&Setup { engine: "flash", concurrency: CONCURRENCY, ..Setup::default() })?;
    let before = harkd.cpu_at_rest()?;
    std::fs::rename(file, scene.calls().join("talk.wav"))?;
    let mut memory = 0;
    let ended = listener.line_while(|| {
        memory = memory.max(harkd.tree()?.memory()?);
        Ok(())
    })?;
    ensure!(ended.contains("\"failed\":0"), "the job failed");
    Ok(Effort { cpu: harkd.cpu_at_rest()? - before, memory })
}
