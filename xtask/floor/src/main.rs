//! What `cargo xtask bench` measures Hark against: the same work without ledger, plugins and retries, and the subscriber for both.
//!
//! A program of its own, so that it is optimized as the daemon is, and xtask itself needs neither NATS nor HTTP.
#![allow(clippy::print_stdout, reason = "its results are lines of JSON")]

mod event;
mod files;
mod listen;
mod publish;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bench-floor")]
struct Args {
    /// Address of the NATS server
    #[arg(long)]
    nats: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Hears partials whose words are times, and tells how old they were
    Listen(listen::Options),
    /// Tells when the last of so many jobs has ended
    Count(listen::Count),
    /// Tells when a job was accepted, and when its first piece was submitted
    Begin,
    /// Publishes the time as partials do, and nothing else
    Publish(publish::Options),
    /// Stores the events of calls that are over
    Finals(publish::Finals),
    /// Sends the files of a folder to the service and publishes what comes back
    Files(files::Options),
}

fn main() -> anyhow::Result<()> {
    let Args { nats, task } = Args::parse();
    // One thread for the measuring parts: they share the cores with what they measure, and should take little of them.
    let mut runtime = match task {
        Task::Files(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(async {
        let client = async_nats::connect(nats).await?;
        match task {
            Task::Listen(options) => listen::partials(client, options).await,
            Task::Count(options) => listen::count(client, options).await,
            Task::Begin => listen::begin(client).await,
            Task::Publish(options) => publish::run(client, options).await,
            Task::Finals(options) => publish::finals(client, options).await,
            Task::Files(options) => files::run(client, options).await,
        }
    })
}
