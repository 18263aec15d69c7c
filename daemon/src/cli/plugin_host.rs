//! `harkd plugin-host`: the process that a plugin runs in; started by the daemon, never by hand.

use super::Exit;
use crate::pipeline::child;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn execute(_args: &Args) -> Result<(), Exit> {
    child::run().map_err(|error| Exit::Software(format!("plugin-host: {error}")))
}
