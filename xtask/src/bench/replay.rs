//! `harkd replay` over many finals, with keyword_alert.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::scene::{Scene, Setup};
use super::table::{Goal, Line, Table};
use super::tree::Tree;
use super::{Bench, memory};

const FINALS: usize = 100_000;

/// How often its memory is read.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    bench.say("replay: 100,000 finals");
    let scene = Scene::set(bench, &[])?;
    let mut publisher = scene.floor(&["finals", "--finals", &FINALS.to_string()])?;
    publisher.line()?;
    let mut command = scene.command(&Setup { plugin: true, ..Setup::default() }, "127.0.0.1:0")?;
    command.arg("replay").arg("--json").stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut replay = command.spawn()?;
    let mut most = 0;
    let ended = bench.interrupt.wait_for(Duration::from_secs(900), || {
        if let Ok(memory) = Tree::of(replay.id()).and_then(|tree| tree.memory()) {
            most = most.max(memory);
        }
        std::thread::sleep(LOOK);
        Ok(replay.try_wait()?)
    })?;
    let elapsed = began.elapsed();
    ensure!(ended.is_some_and(|status| status.success()), "harkd replay ended with {ended:?}");
    table.add(Line {
        row: "replay",
        what: "finals a second, with keyword_alert".into(),
        measured: FINALS as f64 / elapsed.as_secs_f64(),
        unit: "/s",
        against: None,
        goal: Some(Goal::AtLeast(20_000.0)),
    });
    table.add(memory::line("replay", "memory meanwhile", most, 100.0));
    Ok(())
}
