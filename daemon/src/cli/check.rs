//! `harkd check`.

use std::path::Path;

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn execute(_config: &Path, _args: &Args) -> Result<(), Exit> {
    Err(Exit::Software("not built yet".into()))
}
