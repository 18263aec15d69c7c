//! Long recordings, made of a sample of the demo with ffmpeg; and ffmpeg as what decoding is compared with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Bench, tree};

/// Five minutes of speech, which long recordings repeat.
const SPEECH: &str = "xtask/samples/training.mp3";

/// Makes so many seconds of speech, encoded by these options of ffmpeg.
///
/// # Errors
/// When ffmpeg is missing or fails.
pub(super) fn make(
    bench: &Bench<'_>,
    path: &Path,
    seconds: u64,
    options: &[&str],
) -> anyhow::Result<PathBuf> {
    let mut command = quiet();
    command.args(["-stream_loop", "-1", "-i"]).arg(bench.workspace.path(SPEECH));
    command.args(["-t", &seconds.to_string()]).args(options).arg(path);
    run(command)?;
    Ok(path.to_owned())
}

/// CPU that decoding a recording to nothing takes.
///
/// # Errors
/// As for [`make`].
pub(super) fn cpu_to_decode(path: &Path) -> anyhow::Result<Duration> {
    let before = tree::ended_children()?;
    let mut command = quiet();
    command.arg("-i").arg(path).args(["-f", "null", "-"]);
    run(command)?;
    Ok(tree::ended_children()? - before)
}

fn quiet() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().context("starting ffmpeg (Debian and Ubuntu: apt install ffmpeg)")?;
    ensure!(status.success(), "ffmpeg ended with {status}");
    Ok(())
}
