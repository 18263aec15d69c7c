//! Reads a piece (a small batch) of the files that are ready, and takes them in together.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::absent::Absences;
use super::identity::is_vacated;
use super::intake::{self, Destination, Hashed, Taken};
use super::kept::Reason;
use super::ready::{self, Reading};
use super::root::Root;
use super::scan::blocking;
use super::walk::Found;
use crate::job::Duty;
use crate::job::ledger::files::{self, Known};
use crate::job::ledger::{Ledger, LedgerError};
use crate::os::NotARecording;

/// The most known files with equal bytes that are checked for absence when another file with these bytes appears.
const MOST_EQUAL: usize = 256;

/// What came of a piece that was read.
#[derive(Default)]
pub struct Read {
    pub files: Vec<Found>,
    pub again: Vec<Found>,
    pub short: Vec<Found>,
    pub unreadable: Vec<(Found, NotARecording)>,
    pub unleased: bool,
    pub kept: Vec<(Reason, PathBuf)>,
    pub accepted: u64,
}

/// Hashes the files and writes those that were read completely into the ledger, in one transaction; the tasks that process the new jobs
/// are woken at once.
///
/// # Errors
/// When the ledger is closed.
pub async fn read_piece(
    piece: Vec<Found>,
    to: Destination,
    is_network: bool,
    absences: Absences,
    ledger: Ledger,
    stop: CancellationToken,
) -> Result<Read, LedgerError> {
    let files = piece.clone();
    let root = to.root.clone();
    let (mut read, mut hashed) = blocking(move || {
        let mut read = Read::default();
        let mut hashed = Vec::new();
        for found in piece {
            match ready::read(&root, &found, is_network, &stop) {
                Reading::Hashed { sha256, leased } => {
                    read.unleased |= !leased;
                    hashed.push(Hashed { found, sha256, vacated: Vec::new() });
                }
                Reading::NotYet => read.again.push(found),
                Reading::Short => read.short.push(found),
                Reading::Gone => {}
                Reading::Unreadable(error) => read.unreadable.push((found, error)),
            }
        }
        (read, hashed)
    })
    .await?;
    read.files = files;
    if hashed.is_empty() {
        return Ok(read);
    }
    find_vacated(&mut hashed, &to, &absences, &ledger).await?;
    let puts_away = to.puts_away;
    let taken = ledger
        .write(move |connection| {
            let take_in = |file: &Hashed| {
                let taken = intake::take_in(connection, &to, file, &absences)?;
                Ok((taken, file.found.path.clone()))
            };
            hashed.iter().map(take_in).collect::<Result<Vec<_>, LedgerError>>()
        })
        .await?;
    let mut jobs = Vec::new();
    for (taken, path) in taken {
        match taken {
            Taken::Job(job) => jobs.push(job),
            Taken::Kept(reason) => read.kept.push((reason, path)),
            Taken::Raced => {}
        }
    }
    for job in &jobs {
        debug!(%job, "taken in");
    }
    if puts_away {
        // A file that was found to be a known one may have been absent when it was to be put away.
        ledger.wake(Duty::Settle);
    }
    if !jobs.is_empty() {
        // Woken here, and not by the scan, which may be waiting for admission while jobs that are in the ledger can go on.
        ledger.wake(Duty::Prepare);
        ledger.wake(Duty::Publish);
    }
    read.accepted = jobs.len() as u64;
    Ok(read)
}

/// Finds known files with the same bytes that are no longer at their paths.
async fn find_vacated(
    hashed: &mut [Hashed],
    to: &Destination,
    absences: &Absences,
    ledger: &Ledger,
) -> Result<(), LedgerError> {
    let mut hashes: Vec<String> = hashed.iter().map(|file| file.sha256.clone()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let source = to.source.clone();
    let equal = ledger
        .read(move |connection| {
            let mut equal = Vec::new();
            for sha256 in &hashes {
                equal.extend(files::with_sha256(connection, &source, sha256, MOST_EQUAL)?);
            }
            Ok(equal)
        })
        .await?;
    if equal.is_empty() {
        return Ok(());
    }
    let path = to.root.clone();
    let vacated: Vec<Known> = blocking(move || match Root::open(&path) {
        Ok(root) => equal.into_iter().filter(|known| is_vacated(&root, known)).collect(),
        // If the watched folder cannot be opened, it is unknown whether the files are at their paths.
        Err(_) => Vec::new(),
    })
    .await?;
    for file in hashed {
        let same = vacated.iter().filter(|known| {
            known.sha256.as_ref() == Some(&file.sha256) && !absences.is_before(known.id, file.found.seen)
        });
        file.vacated = same.cloned().collect();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_goes_on_with_the_jobs_is_woken_however_long_the_scan_waits() {
        let disk = tempfile::tempdir().unwrap();
        let path = disk.path().join("a.wav");
        std::fs::write(&path, "a").unwrap();
        let ledger = Ledger::open(&disk.path().join("state")).unwrap();
        let mut woken = [Duty::Prepare, Duty::Publish].map(|duty| (duty, ledger.wakes(duty)));
        let to = Destination {
            source: "calls".into(),
            root: disk.path().to_owned(),
            route: "default".into(),
            puts_away: false,
        };
        let piece = vec![Found::at(&Root::open(disk.path()).unwrap(), path).unwrap()];
        let read =
            read_piece(piece, to, false, Absences::default(), ledger.clone(), CancellationToken::new())
                .await
                .unwrap();
        assert_eq!(read.accepted, 1);
        for (duty, woken) in &mut woken {
            assert!(woken.changed().now_or_never().is_some(), "{duty:?} sleeps");
        }
    }
}
