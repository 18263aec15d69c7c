//! How long a word takes from the service's connection to a subscriber.

use std::time::Instant;

use anyhow::Context;
use serde::Deserialize;

use super::Bench;
use super::recordings::Recordings;
use super::scene::{Player, Scene, Setup};
use super::table::{Goal, Line, Table};
use super::tree;

/// Between two words of a stream; people speak some three words a second, the service streams faster than they do.
const EVERY_MS: u64 = 80;

/// Long enough that all streams send at the same time for most of it.
const WORDS: usize = 250;

/// Length of the recordings; the emulator streams the time in place of a text.
const SECONDS: u64 = 2;

/// What the subscriber received.
#[derive(Deserialize)]
struct Received {
    p50_ns: f64,
    p99_ns: f64,
    heard: usize,
    a_second: f64,
    merged: i64,
    bytes: usize,
    /// Cores that the whole machine used meanwhile.
    #[serde(skip)]
    cores: f64,
}

impl Received {
    fn median_ms(&self) -> f64 {
        self.p50_ns / 1e6
    }

    fn p99_ms(&self) -> f64 {
        self.p99_ns / 1e6
    }
}

pub(super) fn measure(bench: &Bench<'_>, table: &mut Table) -> anyhow::Result<()> {
    let (streams, words, every) =
        (bench.options.streams.to_string(), WORDS.to_string(), EVERY_MS.to_string());
    let delay = format!("{EVERY_MS}ms");
    let clock = ["--clock-words", &words, "--token-delay", &delay];
    let ear = ["listen", "--streams", &streams, "--words", &words];

    bench.say(&format!("partial: harkd, {streams} streams"));
    let harkd = {
        let scene = Scene::set(bench, &clock)?;
        let mut recordings = Recordings::make(scene.folder(), bench.options.streams, SECONDS)?;
        let mut ear = scene.floor(&ear)?;
        ear.line()?;
        let setup = Setup { engine: "flash", concurrency: bench.options.streams, ..Setup::default() };
        let _harkd = scene.harkd(&setup)?;
        recordings.drop_into(&scene.calls())?;
        heard(&mut ear)?
    };
    bench.say("partial: the bare loop");
    let bare_loop = {
        let scene = Scene::set(bench, &clock)?;
        let mut recordings = Recordings::make(scene.folder(), bench.options.streams, SECONDS)?;
        let mut ear = scene.floor(&ear)?;
        ear.line()?;
        let _bare_loop = scene.bare_loop(bench.options.streams, bench.options.streams)?;
        recordings.drop_into(&scene.calls())?;
        heard(&mut ear)?
    };
    bench.say("partial: NATS alone");
    let nats = {
        let scene = Scene::set(bench, &[])?;
        let mut ear = scene.floor(&ear)?;
        ear.line()?;
        let _speaker =
            scene.floor(&["publish", "--streams", &streams, "--words", &words, "--every-ms", &every])?;
        heard(&mut ear)?
    };
    for (what, of, most) in [
        ("byte to subscriber, median", Received::median_ms as fn(&Received) -> f64, 0.2),
        ("byte to subscriber, p99", Received::p99_ms, 1.0),
    ] {
        let line = |name, other: &Received, goal| Line {
            row: "partial",
            what: what.into(),
            measured: of(&harkd),
            unit: "ms",
            against: Some((name, of(other))),
            goal,
        };
        table.add(line("NATS alone", &nats, Some(Goal::AddsAtMost(most))));
        table.add(line("bare loop", &bare_loop, None));
    }
    for (name, heard) in [("harkd", &harkd), ("the bare loop", &bare_loop), ("NATS alone", &nats)] {
        table.remark(format!(
            "partial, {name}: {} words heard while all {streams} streams spoke, {:.0} a second, {} of {} merged into a later one, {} bytes each; the machine used {:.1} cores",
            heard.heard, heard.a_second, heard.merged, bench.options.streams * WORDS, heard.bytes, heard.cores,
        ));
    }
    Ok(())
}

fn heard(ear: &mut Player<'_>) -> anyhow::Result<Received> {
    let (begin, machine) = (Instant::now(), tree::machine()?);
    let heard: Received = serde_json::from_str(&ear.line()?).context("reading what the subscriber heard")?;
    let cores = (tree::machine()? - machine).as_secs_f64() / begin.elapsed().as_secs_f64();
    Ok(Received { cores, ..heard })
}
