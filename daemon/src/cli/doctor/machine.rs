//! The state directory and ffmpeg.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::finding::{Finding, Level};
use crate::audio::ffmpeg;
use crate::cli::check::{no_ffmpeg, open_state};
use crate::config::{Config, show_size};
use crate::os;

/// A slower disk holds every job up: each writes its intent and its events with a sync of their own.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// The slowest of this many is what counts.
const SYNCS: usize = 3;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let ffmpeg = match (ffmpeg::find(), no_ffmpeg(config)) {
        (Some(path), _) => Finding::ok("ffmpeg", path.display().to_string()),
        (None, Some(warning)) => Finding::of_sentence("ffmpeg", Level::Warning, &warning, "install ffmpeg"),
        (None, None) => Finding::ok("ffmpeg", "is not installed, and no source needs it"),
    };
    vec![state(config), ffmpeg]
}

fn state(config: &Config) -> Finding {
    let directory = &config.state.directory;
    let path = directory.display();
    let trouble = |message: String, remedy: String| Finding::error("state", message, remedy);
    let give = format!("give it to harkd's user: chown -R hark {path}");
    if !directory.exists() {
        let above = directory.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        return match rustix::fs::access(above, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
            Ok(()) => match room(config, above) {
                Ok(free) => {
                    Finding::ok("state", format!("{path} does not exist yet; harkd makes it; {free} free"))
                }
                Err(finding) => finding,
            },
            Err(error) => trouble(
                format!("{path} does not exist, and cannot be made in {}: {error}", above.display()),
                format!("make it, and {give}"),
            ),
        };
    }
    let slowest = match sync_time(directory) {
        Ok(slowest) => slowest,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            return trouble(
                format!("the disk of {path} is full"),
                "make room on it; harkd goes on by itself".to_owned(),
            );
        }
        Err(error) => return trouble(format!("{path} cannot be written to: {error}"), give),
    };
    if let Some(warning) = open_state(directory) {
        return Finding::of_sentence("state", Level::Warning, &warning, "close it");
    }
    let shown = match room(config, directory) {
        Ok(free) => free,
        Err(finding) => return finding,
    };
    let took = format!("{:.1} ms", slowest.as_secs_f64() * 1000.0);
    if slowest > SLOW_SYNC {
        let message = format!("{path}: an fsync takes {took}, and every job needs several");
        return Finding::warning(
            "state",
            message,
            "put state.directory on a local disk, best an SSD; not on NFS",
        );
    }
    let runs_as = rustix::process::geteuid().as_raw();
    match directory.metadata().map(|found| found.uid()) {
        Ok(owner) if owner != runs_as => Finding::warning(
            "state",
            format!(
                "{path} belongs to user {owner}, and doctor runs as user {runs_as}: it may have rights that harkd lacks"
            ),
            "run doctor as harkd's user; docs/operating.md has the command",
        ),
        _ => Finding::ok("state", format!("{path}: {shown} free, fsync {took}")),
    }
}

/// The room on the disk of `place`, which is the state directory or where it will be made.
fn room(config: &Config, place: &Path) -> Result<String, Finding> {
    let path = config.state.directory.display();
    let (Ok(free), Ok(reserve)) = (os::free_bytes(place), os::reserve_bytes(place)) else {
        return Err(Finding::error(
            "state",
            format!("the free space on the disk of {path} cannot be read"),
            "see whether it is mounted",
        ));
    };
    let shown = show_size(rounded(free));
    if free <= reserve {
        return Err(Finding::error(
            "state",
            format!("{shown} are free for {path}, and sources wait at {}", show_size(rounded(reserve))),
            "make room on that disk",
        ));
    }
    if free < config.state.max_size {
        let limit = show_size(config.state.max_size);
        let message = format!(
            "{shown} are free for {path}, and state.max_size is {limit}: the disk may be full before harkd stops"
        );
        return Err(Finding::warning("state", message, "make room, or lower state.max_size"));
    }
    Ok(shown)
}

/// Writes a page and syncs it, some times; the file has no name that the daemon knows, and is gone when this returns.
fn sync_time(directory: &Path) -> io::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(directory)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        slowest = slowest.max(begun.elapsed());
    }
    Ok(slowest)
}

/// To whole GiB or MiB: the exact number would be shown in bytes.
fn rounded(bytes: u64) -> u64 {
    let unit = if bytes >= 1 << 30 { 1 << 30 } else { 1 << 20 };
    bytes / unit * unit
}
