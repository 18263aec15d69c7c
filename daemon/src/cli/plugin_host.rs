//! `harkd plugin-host`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn execute(_args: &Args) -> Result<(), Exit> {
    Err(Exit::Software("not built yet".into()))
}
