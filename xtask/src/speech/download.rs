//! pip with its progress: how much of a known amount it has downloaded.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Unavailable;
use crate::python::print_end;

const PAUSE: Duration = Duration::from_millis(200);
const BAR_WIDTH: u64 = 30;
/// pip's words about a package whose bytes are not the pinned ones.
const OTHER_BYTES: &str = "DO NOT MATCH THE HASHES";

/// Runs pip, which downloads `bytes` into `folder` before it installs them. The folder is empty before and removed afterwards.
///
/// # Errors
/// [`Unavailable`] when pip fails, unless a package has other bytes than the pinned ones.
pub(super) fn run(mut pip: Command, folder: &Path, bytes: u64) -> anyhow::Result<()> {
    clear(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let log_path = folder.join("pip.log");
    let log = File::create(&log_path).with_context(|| format!("writing {}", log_path.display()))?;
    let log_too = log.try_clone().context("pip's log")?;
    // pip keeps what it downloads in the folder for temporary files until it has installed all of it.
    let mut pip = pip.env("TMPDIR", folder).stdout(log).stderr(log_too).spawn().context("starting pip")?;
    let mut progress = Progress::new(bytes);
    let status = loop {
        if let Some(status) = pip.try_wait().context("waiting for pip")? {
            break status;
        }
        progress.show(size_of(folder));
        std::thread::sleep(PAUSE);
    };
    progress.end();
    if !status.success() {
        let words = fs::read_to_string(&log_path).unwrap_or_default();
        // pip says first what it leaves out because it is for other machines.
        let reasons: Vec<&str> = words.lines().filter(|line| !line.starts_with("Ignoring ")).collect();
        print_end(&reasons.join("\n"));
        if words.contains(OTHER_BYTES) {
            bail!("a package has other bytes than the pinned ones; nothing was installed");
        }
        return Err(Unavailable.into());
    }
    clear(folder)
}

/// Removes what an earlier run left there.
pub(super) fn clear(folder: &Path) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))
}

/// Bytes of all files below the folder; pip removes and renames some meanwhile.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A bar on a terminal, a line for each tenth elsewhere.
struct Progress {
    total: u64,
    on_terminal: bool,
    /// Bytes that were shown last; the folder shrinks again when pip cleans up.
    shown: u64,
}

impl Progress {
    fn new(total: u64) -> Progress {
        Progress { total, on_terminal: std::io::stdout().is_terminal(), shown: 0 }
    }

    fn show(&mut self, bytes: u64) {
        // The folder has pip's log and small files too, so the sum may pass the total.
        let bytes = bytes.min(self.total).max(self.shown);
        let words = if bytes == self.total {
            "downloaded; pip installs it".to_owned()
        } else {
            format!("{:>4} of {} MB", bytes / 1_000_000, self.total / 1_000_000)
        };
        let tenth = |bytes| bytes * 10 / self.total;
        if self.on_terminal {
            let full = (bytes * BAR_WIDTH / self.total) as usize;
            let bar = "#".repeat(full) + &"-".repeat(BAR_WIDTH as usize - full);
            print!("\r  [{bar}] {words:<30}");
        } else if tenth(bytes) > tenth(self.shown) {
            println!("  {}", words.trim_start());
        }
        self.shown = bytes;
        // A terminal that is gone shows no progress; the download goes on.
        let _ = std::io::stdout().flush();
    }

    fn end(&self) {
        if self.on_terminal && self.shown > 0 {
            println!();
        }
    }
}
