//! Decoding an hour, finding speech in it and where to cut it, against ffmpeg's decoding alone.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::Bench;
use super::ffmpeg;
use super::scene::{Scene, Setup};
use super::table::{Goal, Line, Table};

const HOUR: u64 = 3_600;

/// The subcommand of the daemon's children that decode.
const WORKER: &str = "audio-worker";

/// One request a minute: a short recording takes it, and no piece of the long one is made before the next minute. What the workers do
/// meanwhile is listen.
const REQUESTS: u32 = 1;

/// The recording that takes the minute's request.
const SHORT: &str = "xtask/samples/cancel.wav";

/// What is decoded, and how ffmpeg makes it.
const KINDS: [(&str, &str, &[&str]); 3] = [
    ("1 h of 8 kHz µ-law", "hour.wav", &["-ar", "8000", "-ac", "1", "-c:a", "pcm_mulaw"]),
    ("1 h of mp3", "hour.mp3", &["-ar", "44100", "-ac", "1", "-b:a", "64k"]),
    (
        "1 h of Opus in Ogg",
        "hour.opus",
        &["-ar", "48000", "-ac", "1", "-c:a", "libopus", "-compression_level", "0"],
    ),
];

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    for (what, name, options) in KINDS {
        bench.say(&format!("decode: {what}"));
        let scene = Scene::set(bench, &[])?;
        let file = ffmpeg::make(bench, &scene.path(name), HOUR, options)?;
        let alone = ffmpeg::cpu_to_decode(&file)?;
        let ours = cpu_of_workers(bench, &scene, &file, name)?;
        table.add(Line {
            row: "decode",
            what: format!("CPU to decode, find speech and cut {what}"),
            measured: ours.as_secs_f64(),
            unit: "s",
            against: Some(("ffmpeg, decoding", alone.as_secs_f64())),
            // An hour of Opus is measured without a goal.
            goal: (name != "hour.opus").then_some(Goal::RatioAtMost(2.0)),
        });
    }
    Ok(())
}

/// CPU of the daemon's audio workers until the recording is cut.
fn cpu_of_workers(bench: &Bench<'_>, scene: &Scene<'_>, file: &Path, name: &str) -> anyhow::Result<Duration> {
    let mut listener = scene.floor(&["begin"])?;
    listener.line()?;
    let setup = Setup { engine: "flash", requests_per_minute: REQUESTS, ..Setup::default() };
    let mut harkd = scene.harkd(&setup)?;
    std::fs::copy(bench.workspace.path(SHORT), scene.calls().join("short.wav"))
        .context("copying a sample")?;
    listener.line_while(|| harkd.runs())?;
    let mut cpu_of_workers = || -> anyhow::Result<Duration> {
        harkd.runs()?;
        Ok(harkd.tree()?.named(WORKER).cpu_of_each())
    };
    let before = cpu_of_workers()?;
    std::fs::rename(file, scene.calls().join(name))?;
    let mut cpu = before;
    loop {
        bench.interrupt.sleep(STILL)?;
        let now = cpu_of_workers()?;
        if now == cpu && now > before {
            return Ok(now - before);
        }
        cpu = now;
    }
}

/// How long the workers must have done nothing to be done.
const STILL: Duration = Duration::from_secs(2);
