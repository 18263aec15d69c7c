//! `cargo xtask bench`: the daemon against the same work without a daemon around it, in one run, as ratios.
//!
//! Every contender gets servers of its own, freshly started, on the loopback of this machine: the machine's other work disturbs all of them
//! alike, so the ratios are valid where the absolute figures are not.

mod decode;
mod ffmpeg;
mod files;
mod long;
mod memory;
mod partial;
mod pieces;
mod recordings;
mod replay;
mod scene;
mod split;
mod table;
mod tasks;
mod timing;
mod tree;

use std::path::PathBuf;

use anyhow::{Context, ensure};

use self::table::Table;
use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use crate::{nats_server, python};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure; nothing named: all of it
    #[arg(value_enum, value_name = "ROW")]
    rows: Vec<Row>,

    /// The table as JSON on stdout; what happens goes to stderr
    #[arg(long)]
    json: bool,

    /// Streams that speak at the same time
    #[arg(long, default_value_t = 200, value_name = "NUMBER")]
    streams: usize,

    /// Files of 10 s that are dropped at once
    #[arg(long, default_value_t = 400, value_name = "NUMBER")]
    files: usize,

    /// Size of the upload, in bytes
    #[arg(long, default_value_t = 1_000_000_000, value_name = "NUMBER")]
    upload: u64,

    /// Tasks in flight
    #[arg(long, default_value_t = 1_000, value_name = "NUMBER")]
    tasks: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Row {
    /// From the service's byte to the subscriber's event, against a bare NATS round trip
    Partial,
    /// Files a second and CPU a file, against a bare loop and a Python script
    Files,
    /// Memory with one plugin and nothing to do
    Idle,
    /// Memory while a large file is uploaded
    Upload,
    /// Memory with many tasks in flight, and queries a second
    Tasks,
    /// CPU to decode an hour, find speech in it and cut it, against ffmpeg's decoding
    Decode,
    /// Memory with twelve hours in pieces, and when the first one is sent
    Long,
    /// CPU and memory for half an hour in pieces, against qwen3-asr-toolkit
    Pieces,
    /// CPU for two channels, each by itself, against the same talk on one
    Split,
    /// Time of an event with 5,000 rules of keyword_alert
    Rules,
    /// Time of a final of 10,000 segments in redact
    Redact,
    /// Time of an event in a plugin's process, against a function call
    Pipeline,
    /// Finals a second and memory of harkd replay
    Replay,
}

const ALL: [Row; 13] = [
    Row::Partial,
    Row::Files,
    Row::Idle,
    Row::Upload,
    Row::Tasks,
    Row::Decode,
    Row::Long,
    Row::Pieces,
    Row::Split,
    Row::Rules,
    Row::Redact,
    Row::Pipeline,
    Row::Replay,
];

/// What every row of the table needs.
struct Bench<'a> {
    workspace: &'a Workspace,
    options: &'a Options,
    nats_server: PathBuf,
    interrupt: Interrupt,
}

/// Measures and prints. A missed goal is not an error: the table shows it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let rows = if options.rows.is_empty() { &ALL[..] } else { &options.rows };
    let bench = Bench {
        workspace,
        options,
        nats_server: nats_server::find_or_install(workspace)?.path,
        interrupt: Interrupt::listen()?,
    };
    // The examples with the programs, in one build: of one package alone, the dependencies have other features, and all are built again.
    let build = ["build", "--release", "--workspace", "--exclude", "xtask", "--lib", "--bins", "--examples"];
    let built = workspace.cargo(&build).status().context("starting cargo build")?;
    ensure!(built.success(), "cargo build ended with {built}");
    let mut table = Table::default();
    for row in rows {
        match row {
            Row::Partial => partial::measure(&bench, &mut table)?,
            Row::Files => files::measure(&bench, &mut table)?,
            Row::Idle => memory::idle(&bench, &mut table)?,
            Row::Upload => memory::upload(&bench, &mut table)?,
            Row::Tasks => tasks::measure(&bench, &mut table)?,
            Row::Decode => decode::measure(&bench, &mut table)?,
            Row::Long => long::measure(&bench, &mut table)?,
            Row::Pieces => pieces::measure(&bench, &mut table)?,
            Row::Split => split::measure(&bench, &mut table)?,
            Row::Rules => timing::rules(&bench, &mut table)?,
            Row::Redact => timing::redact(&bench, &mut table)?,
            Row::Pipeline => timing::pipeline(&bench, &mut table)?,
            Row::Replay => replay::measure(&bench, &mut table)?,
        }
    }
    if options.json {
        println!("{}", table.to_json());
    } else {
        print!("\n{table}");
    }
    Ok(())
}

impl Bench<'_> {
    fn say(&self, what: &str) {
        eprintln!("{what}");
    }

    /// The Python that the script runs in.
    fn python(&self) -> anyhow::Result<PathBuf> {
        let environment = python::environment(self.workspace)?;
        environment.install_all(self.workspace, "xtask/src/bench/requirements.txt")?;
        Ok(environment.interpreter())
    }
}
