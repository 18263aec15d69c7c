//! `cargo xtask chaos`: the chaos tests of one daemon and of two on one stream, for hours.

use anyhow::{Context, ensure};

use crate::nats_server;
use crate::workspace::Workspace;

/// The kills and recordings of an hour, of a goal of a thousand kills and fifty thousand recordings.
const KILLS_AN_HOUR: f64 = 1_000.0;
const INPUTS_AN_HOUR: f64 = 50_000.0;

/// With `--pieces`: each of these recordings is twenty requests.
const IN_PIECES_AN_HOUR: f64 = 1_500.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long the faults go on; 0.02 is about a minute
    #[arg(long, default_value_t = 1.0, value_name = "NUMBER")]
    hours: f64,

    /// Daemons: one, or two that share a stream
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=2))]
    daemons: u8,

    /// Recordings of about twenty pieces each
    #[arg(long)]
    pieces: bool,

    /// Repeats the decisions of an earlier run, which printed it
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// Runs it and leaves its table on the terminal; fails when the ledger check found anything.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    ensure!(options.hours > 0.0, "--hours has to be more than 0");
    let nats_server = nats_server::find_or_install(workspace)?.path;
    let built = workspace.cargo(&["build", "--workspace", "--exclude", "xtask"]).status();
    ensure!(built.context("starting cargo")?.success(), "the build failed");
    let story = if options.daemons == 1 { "chaos::nothing_is_lost" } else { "chaos::two" };
    let of_hours = |an_hour: f64| ((an_hour * options.hours).ceil() as u64).to_string();
    let inputs = if options.pieces { IN_PIECES_AN_HOUR } else { INPUTS_AN_HOUR };
    // Of the whole workspace: for one package the dependencies have other features, and all are built again.
    let mut run = workspace.cargo(&["test", "--workspace", "--test", "stories", story, "--", "--nocapture"]);
    run.env(nats_server::VARIABLE, nats_server)
        .env("HARK_TESTS_BUILT", "1")
        .env("HARK_CHAOS_SECONDS", of_hours(3_600.0))
        .env("HARK_CHAOS_KILLS", of_hours(KILLS_AN_HOUR))
        .env("HARK_CHAOS_INPUTS", of_hours(inputs))
        .env("HARK_CHAOS_PIECES", u8::from(options.pieces).to_string());
    if let Some(seed) = options.seed {
        run.env("HARK_SEED", seed.to_string());
    }
    let status = run.status().context("starting cargo")?;
    ensure!(status.success(), "promises were broken; they are named above, and --seed repeats the run");
    Ok(())
}
