//! `harkd`: parse, build, run.

use std::process::ExitCode;

use clap::Parser;
use harkd::cli::Args;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => args.execute(),
        Err(error) => harkd::cli::usage(&error),
    }
}
