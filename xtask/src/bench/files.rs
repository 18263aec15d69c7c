//! Files a second, and CPU a file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Bench;
use super::recordings::Recordings;
use super::scene::{Player, Scene, Setup};
use super::table::{Goal, Line, Table};
use super::tree;

/// Requests in flight, harkd's default.
const CONCURRENCY: usize = 32;

/// Seconds of audio in each file.
const SECONDS: u64 = 10;

/// What the listener prints when all jobs have ended.
#[derive(Deserialize)]
struct Ended {
    last_ns: u128,
    failed: usize,
}

/// What one contender needed for all files.
struct Effort {
    elapsed: Duration,
    cpu: Duration,
    /// CPU of the emulator and the broker.
    servers: Duration,
    /// CPU of all other processes on this machine.
    others: Duration,
    files: usize,
}

impl Effort {
    fn cpu_ms(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.files as f64
    }

    fn files_a_second(&self) -> f64 {
        self.files as f64 / self.elapsed.as_secs_f64()
    }
}

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    let (python, files) = (bench.python()?, bench.options.files);
    bench.say("files: harkd");
    let setup = Setup { engine: "flash", concurrency: CONCURRENCY, ..Setup::default() };
    let harkd = contend(bench, |scene| scene.harkd(&setup))?;
    bench.say("files: the bare loop");
    let bare_loop = contend(bench, |scene| scene.bare_loop(files, CONCURRENCY))?;
    bench.say("files: the Python script");
    let script = contend(bench, |scene| scene.script(&python, CONCURRENCY))?;

    let line = |what: &str, of: fn(&Effort) -> f64, unit, name, other: &Effort, goal| Line {
        row: "files",
        what: what.into(),
        measured: of(&harkd),
        unit,
        against: Some((name, of(other))),
        goal,
    };
    let (cpu, pace) = (Effort::cpu_ms as fn(&Effort) -> f64, Effort::files_a_second as fn(&Effort) -> f64);
    table.add(line("CPU a file", cpu, "ms", "bare loop", &bare_loop, Some(Goal::RatioAtMost(1.5))));
    table.add(line("CPU a file", cpu, "ms", "Python", &script, Some(Goal::RatioAtMost(0.1))));
    table.add(line("files a second", pace, "/s", "bare loop", &bare_loop, None));
    table.add(line("files a second", pace, "/s", "Python", &script, Some(Goal::RatioAtLeast(5.0))));
    for (name, effort) in [("harkd", &harkd), ("the bare loop", &bare_loop), ("the Python script", &script)] {
        table.remark(format!(
            "files, {name}: service and broker took {:.2} ms CPU a file beside it; others had {:.1} cores meanwhile",
            effort.servers.as_secs_f64() * 1e3 / files as f64,
            effort.others.as_secs_f64() / effort.elapsed.as_secs_f64(),
        ));
    }
    Ok(())
}

/// Moves the files into one contender's folder, and waits for the last event of each.
fn contend<'a>(
    bench: &'a Bench<'a>,
    start: impl FnOnce(&Scene<'a>) -> anyhow::Result<Player<'a>>,
) -> anyhow::Result<Effort> {
    let files = bench.options.files;
    let scene = Scene::set(bench, &[])?;
    let mut recordings = Recordings::make(scene.folder(), files, SECONDS)?;
    let mut listener = scene.floor(&["count", "--jobs", &files.to_string()])?;
    listener.line()?;
    let mut player = start(&scene)?;
    let before = player.cpu_at_rest()?;
    let (servers, machine) = (scene.cpu_of_servers()?, tree::machine()?);
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).context("reading the clock")?;
    recordings.drop_into(&scene.calls())?;
    let ended: Ended = serde_json::from_str(&listener.line_while(|| player.runs())?)
        .context("reading when the last job ended")?;
    ensure!(ended.failed == 0, "{} of {files} jobs failed", ended.failed);
    let elapsed = Duration::from_nanos(u64::try_from(ended.last_ns.saturating_sub(begin.as_nanos()))?);
    let (servers, machine) = (scene.cpu_of_servers()? - servers, tree::machine()? - machine);
    let others = machine.saturating_sub(servers).saturating_sub(player.tree()?.cpu()? - before);
    let cpu = player.cpu_at_rest()? - before;
    Ok(Effort { elapsed, cpu, servers, others, files })
}
