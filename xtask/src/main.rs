//! What a person runs, and CI with them: `cargo xtask demo`, `cargo xtask test`, `cargo xtask chaos`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "xtask talks to a person at a terminal")]

mod chaos;
mod check;
mod demo;
mod nats_server;
mod python;
mod samples;
mod terminal;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Hark workspace")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Starts NATS, the service's stand-in and harkd, feeds sample recordings and shows the events
    Demo(demo::Options),
    /// Everything CI does: formatting, clippy, tests, docs
    Test,
    /// Kills, stops and starves the daemon for hours, then compares all records and prints the figures
    Chaos(chaos::Options),
    /// Gets what demo and tests need beside Rust (a nats-server, a Python environment) and says where it is
    Tools,
    /// Speaks the sample recordings anew from xtask/samples/texts.toml (needs espeak-ng, sox and lame)
    Samples,
}

fn main() -> ExitCode {
    let task = Args::parse().task;
    match Workspace::find().and_then(|workspace| execute(&task, &workspace)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", terminal::red("xtask:"));
            ExitCode::FAILURE
        }
    }
}

fn execute(task: &Task, workspace: &Workspace) -> anyhow::Result<()> {
    match task {
        Task::Demo(options) => demo::run(workspace, options),
        Task::Test => check::run(workspace),
        Task::Chaos(options) => chaos::run(workspace, options),
        Task::Tools => {
            let nats_server = nats_server::find_or_install(workspace)?;
            let python = python::environment(workspace)?.with_test_requirements(workspace)?;
            println!("nats-server  {} ({})", nats_server.path.display(), nats_server.version);
            println!("python       {}", python.interpreter().display());
            Ok(())
        }
        Task::Samples => samples::speak_all(workspace),
    }
}
