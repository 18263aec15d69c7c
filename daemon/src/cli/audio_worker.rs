//! `harkd audio-worker`: see [`crate::audio::worker`].

use super::Exit;

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn execute(_args: &Args) -> Result<(), Exit> {
    let failed = |error: std::io::Error| Exit::Software(format!("audio worker: {error}"));
    let socket = crate::os::enter(c"hark-audio").map_err(failed)?;
    crate::audio::worker::serve(&socket).map_err(failed)
}
