//! The tasks that people and CI run: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`, `cargo xtask chaos`,
//! `cargo xtask dist`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "xtask talks to a person at a terminal")]

mod bench;
mod chaos;
mod check;
mod child;
mod debian;
mod demo;
mod dist;
mod interrupt;
mod nats_server;
mod python;
mod samples;
mod servers;
mod speech;
mod terminal;
mod test_binaries;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::speech::Speech;
use crate::workspace::Workspace;

/// As of harkd: a service that the task needs is missing.
const UNAVAILABLE: u8 = 69;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Hark workspace")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Starts NATS, a speech server and harkd, feeds sample recordings and shows the events
    Demo(demo::Options),
    /// Everything CI does: formatting, clippy, tests, docs
    Test(check::Options),
    /// Measures the daemon against the same work without a daemon around it, in one run, and prints the ratios
    Bench(bench::Options),
    /// Makes a Debian package and a tarball, with manual pages, completions, checksums and a bill of materials, in target/dist
    Dist(dist::Options),
    /// Kills, stops and starves the daemon for hours, then compares all records and prints the figures
    Chaos(chaos::Options),
    /// Installs what demo and tests need beside Rust (a nats-server, a Python environment, promtool, a speech server) and prints where it is
    Tools,
    /// Speaks the sample recordings anew from xtask/samples/texts.toml (needs flite, espeak-ng, sox and lame)
    Samples,
}

fn main() -> ExitCode {
    let task = Args::parse().task;
    match Workspace::find().and_then(|workspace| execute(&task, &workspace)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", terminal::red("xtask:"));
            if error.is::<speech::Unavailable>() { ExitCode::from(UNAVAILABLE) } else { ExitCode::FAILURE }
        }
    }
}

fn execute(task: &Task, workspace: &Workspace) -> anyhow::Result<()> {
    match task {
        Task::Demo(options) => demo::run(workspace, options),
        Task::Test(options) => check::run(workspace, options),
        Task::Bench(options) => bench::run(workspace, options),
        Task::Dist(options) => dist::run(workspace, options),
        Task::Chaos(options) => chaos::run(workspace, options),
        Task::Tools => {
            let nats_server = nats_server::find_or_install(workspace)?;
            let python = python::environment(workspace)?.with_test_requirements(workspace)?;
            println!("nats-server  {} ({})", nats_server.path.display(), nats_server.version);
            println!("python       {}", python.interpreter().display());
            match debian::find_or_unpack("promtool", "prometheus", &workspace.tools())? {
                Some(promtool) => println!("promtool     {}", promtool.display()),
                None => println!("promtool     not to be had (Debian and Ubuntu: the package prometheus)"),
            }
            println!("speech       {}", Speech::find_or_install(workspace)?);
            Ok(())
        }
        Task::Samples => samples::speak_all(workspace),
    }
}
