//! Two channels, each by itself, against the same talk on one channel: an hour, and many short calls.

use std::time::Duration;

use anyhow::ensure;

use super::recordings::Recordings;
use super::scene::{Scene, Setup};
use super::table::{Goal, Line, Table};
use super::{Bench, ffmpeg};

const HOUR: u64 = 3_600;

/// Seconds of a short call.
const SHORT: u64 = 10;

/// Telephones' samples, as a recorder of calls writes them.
const MONO: [&str; 4] = ["-ar", "8000", "-ac", "1"];

/// The same talk by two: five seconds on one channel, then five on the other.
const STEREO: [&str; 4] =
    ["-ar", "8000", "-af", "aeval=val(0)*lt(mod(t\\,10)\\,5)|val(0)*gte(mod(t\\,10)\\,5):c=stereo"];

/// How an hour is heard: of a long recording whose silence is kept and whose channels are mixed, only a sample is listened to.
const HOURS: [(&str, &str, &str); 2] = [
    ("1 h of stereo, split", "channels = \"split\"", ""),
    (
        "1 h of stereo, split, silence left out",
        "channels = \"split\"\nskip_silence = true",
        "skip_silence = true",
    ),
];

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    for (what, split, mono) in HOURS {
        bench.say(&format!("split: {what}"));
        let of = |options, route| cpu(bench, options, HOUR, 1, route).map(|cpu| cpu.as_secs_f64());
        table.add(Line {
            row: "split",
            what: format!("CPU, {what}"),
            measured: of(&STEREO, split)?,
            unit: "s",
            against: Some(("the same talk in mono", of(&MONO, mono)?)),
            goal: Some(Goal::RatioAtMost(1.3)),
        });
    }
    let files = bench.options.files;
    bench.say("split: short calls");
    let of = |options, route| {
        cpu(bench, options, SHORT, files, route).map(|cpu| cpu.as_secs_f64() * 1e3 / files as f64)
    };
    table.add(Line {
        row: "split",
        what: format!("CPU a stereo call of {SHORT} s, split"),
        measured: of(&STEREO, HOURS[0].1)?,
        unit: "ms",
        against: Some(("a mono file", of(&MONO, "")?)),
        goal: Some(Goal::RatioAtMost(2.2)),
    });
    Ok(())
}

/// CPU of harkd and its children for this many recordings of this many seconds, through flash.
fn cpu(
    bench: &Bench<'_>,
    options: &[&str],
    seconds: u64,
    count: usize,
    route: &'static str,
) -> anyhow::Result<Duration> {
    let scene = Scene::set(bench, &[])?;
    let file = ffmpeg::make(bench, &scene.path("talk.wav"), seconds, options)?;
    let mut recordings = Recordings::copies(scene.folder(), count, &file)?;
    let mut listener = scene.floor(&["count", "--jobs", &count.to_string()])?;
    listener.line()?;
    let mut harkd = scene.harkd(&Setup { engine: "flash", route, ..Setup::default() })?;
    let before = harkd.cpu_at_rest()?;
    recordings.drop_into(&scene.calls())?;
    let ended = listener.line_while(|| harkd.runs())?;
    ensure!(ended.contains("\"failed\":0"), "a job failed: {ended}");
    Ok(harkd.cpu_at_rest()? - before)
}
