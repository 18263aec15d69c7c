//! `harkd man`: the manual pages, one for each command. Not in the help: the build of packages calls it.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that the pages are written to, which exists
    directory: PathBuf,
}

/// Writes `harkd.1`, `harkd-run.1`, ….
///
/// # Errors
/// When a page cannot be written.
pub fn execute(args: &Args) -> Result<(), Exit> {
    clap_mangen::generate_to(super::Args::command(), &args.directory).map_err(|error| {
        Exit::Software(format!("writing manual pages to {}: {error}", args.directory.display()))
    })
}
