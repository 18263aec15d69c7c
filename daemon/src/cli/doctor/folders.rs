//! Watched folders.

use std::io::ErrorKind;

use super::finding::{Finding, Level};
use crate::config::DirectorySource;
use crate::os::Lease;
use crate::source::directory::examine::{self, Examined};

pub(super) fn of_folder(source: &DirectorySource) -> Finding {
    let (check, path) = (format!("source {}", source.name), source.path.display());
    let examined = match examine::examine(source) {
        Ok(examined) => examined,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Finding::warning(
                check,
                format!("the folder {path} does not exist; it is watched as soon as it does"),
                format!("make it, or mount it: mkdir -p {path}"),
            );
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Finding::error(check, format!("{path} is no folder"), "correct `path` of the source");
        }
        Err(error) => {
            let remedy =
                "give harkd's user the right to read and to enter it, and to enter every folder above it";
            return Finding::error(check, format!("the folder {path} cannot be listed: {error}"), remedy);
        }
    };
    let Examined { is_network, no_hints, lease, not_writable } = examined;
    if let Some(folder) = not_writable.first() {
        let message = format!("when_done needs to write to {}, and may not", folder.display());
        return Finding::error(
            check,
            message,
            "give harkd's user the right to write to it, or set when_done = \"keep\"",
        );
    }
    if let Some(reason) = no_hints {
        let warning = format!("{path}: {reason}");
        return Finding::of_sentence(check, Level::Warning, &warning, "a scan finds every file nevertheless");
    }
    if is_network {
        let message = format!(
            "{path} is on a network filesystem, which sends no events for what other machines write: a scan finds their files"
        );
        return Finding::warning(
            check,
            message,
            "set `rescan` to how late a recording may be found, and `settle` longer than a writer's pauses",
        );
    }
    match lease {
        Some(Lease::Unsupported) => Finding::warning(
            check,
            format!(
                "{path}: the kernel does not tell whether a file is still written to (its files are another user's, or its filesystem has no leases)"
            ),
            "give harkd CAP_LEASE, as its unit does, or set `settle` longer than a writer's pauses",
        ),
        Some(Lease::Free | Lease::Busy) => Finding::ok(check, format!("{path}: inotify and leases work")),
        None => Finding::ok(check, format!("{path}: inotify works; there is no file to try a lease on")),
    }
}
