//! Files that were there before the folder was first watched: what they are, and what hearing them costs.
//!
//! A disk may be mounted at the folder, or below it, long after the first start. So each place is scanned for the first time when it is
//! first met: the folder itself, by its device and inode, and each filesystem below it.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tracing::info;

use super::intake;
use super::root::Root;
use super::scan::{PIECE, Scan, blocking, now};
use super::walk::Found;
use crate::config::Existing;
use crate::job::FileIdentity;
use crate::job::ledger::places::{self, Place};
use crate::job::ledger::{Ledger, LedgerError, files};

/// A file's ctime comes from the kernel's coarse clock, which lags behind the one read here by a timer tick (10 ms at most; more on a
/// virtual machine that was not let run). What came this shortly before the first start counts as new: it is heard, not lost.
const CTIME_LAG: Duration = Duration::from_millis(100);

/// A place, and what was met there that is older than the source.
#[derive(Debug)]
pub(super) struct Met {
    place: Place,
    /// While the first scan of the place goes on: when the folder was first to be watched.
    since_ns: Option<i64>,
    files: u64,
    bytes: u64,
}

/// Notes when a folder is first to be watched, before it need be there: what comes with it is new.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn want(ledger: &Ledger, source: &str, root: &Path) -> Result<(), LedgerError> {
    let (source, root) = (source.to_owned(), root.to_owned());
    let now_ns = now().wall_ns - i64::try_from(CTIME_LAG.as_nanos()).unwrap_or(0);
    ledger.write(move |connection| places::want(connection, &source, &root, now_ns)).await
}

impl Scan {
    /// Meets a place. One that has other numbers than it had, since it was mounted again or copied, has files that are known by name.
    pub(super) async fn meet(&mut self, place: Place) -> Result<(), LedgerError> {
        let is_met = |met: &Met| place.inode == 0 || met.place == place;
        if self.places.get(&place.dev).is_some_and(is_met) {
            return Ok(());
        }
        let (source, path) = (self.around.destination.source.clone(), self.around.choice.root.clone());
        let (of, at) = (source.clone(), path.clone());
        let (found, some) = self
            .around
            .ledger
            .read(move |c| Ok((places::find(c, &of, &at, place)?, files::page(c, &of, None, PIECE)?)))
            .await?;
        let since_ns = match found {
            Some(since_ns) => since_ns,
            None => {
                let at = path.clone();
                let is_known = blocking(move || {
                    let Ok(root) = Root::open(&at) else { return false };
                    some.iter().any(|known| {
                        root.status(&known.path).is_ok_and(|status| {
                            status.st_dev == place.dev
                                && FileIdentity::of(&status).is_unchanged(&known.identity)
                        })
                    })
                })
                .await?;
                let meet = move |c: &Connection| places::meet(c, &source, &path, place, is_known);
                self.around.ledger.write(meet).await?
            }
        };
        self.places.insert(place.dev, Met { place, since_ns, files: 0, bytes: 0 });
        Ok(())
    }

    /// Whether a file was there before the folder was first watched. Its ctime tells, so that a crash in the middle of the first scan
    /// changes nothing: with `existing = "skip"` what was there before stays unheard, what came since is heard. Counts
    /// it.
    pub(super) fn was_before(&mut self, found: &Found) -> bool {
        let Some(met) = self.places.get_mut(&found.stamp.identity.dev) else { return false };
        if met.since_ns.is_none_or(|since| found.stamp.ctime_ns >= since) {
            return false;
        }
        // Only the full scan goes on while it is the first: each file is met once.
        met.files += 1;
        met.bytes += found.stamp.identity.size;
        true
    }

    /// Ends the first scan of each place that was met. While a folder could not be listed, what is in it may be older than the source.
    pub(super) async fn places_are_scanned(&mut self, devices: &HashSet<u64>) -> Result<(), LedgerError> {
        if self.seen.is_err() {
            return Ok(());
        }
        let ended: Vec<&mut Met> = self
            .places
            .values_mut()
            .filter(|met| met.since_ns.is_some() && devices.contains(&met.place.dev))
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        let (mut files, mut bytes, mut places) = (0, 0, Vec::new());
        for met in ended {
            met.since_ns = None;
            files += met.files;
            bytes += met.bytes;
            places.push(met.place);
        }
        let (source, path) = (self.around.destination.source.clone(), self.around.choice.root.clone());
        let scanned = move |c: &Connection| {
            places.iter().try_for_each(|place| places::scanned(c, &source, &path, *place))
        };
        self.around.ledger.write(scanned).await?;
        self.tell_of_before(files, bytes);
        Ok(())
    }

    /// How many there were, and what hearing them costs: the price of an hour, for only a look inside would tell how many hours they are.
    fn tell_of_before(&self, files: u64, bytes: u64) {
        let source = &self.around.destination.source;
        let usd_per_hour = (self.around.price * 3.6e9).round() / 1e6;
        match self.around.existing {
            _ if files == 0 => {}
            Existing::Skip => info!(
                source,
                files,
                bytes,
                usd_per_hour,
                "files that were there before the first start stay unheard; existing = \"process\" takes them in a new source, at this price of an hour of audio"
            ),
            Existing::Process => info!(
                source,
                files,
                bytes,
                usd_per_hour,
                "files that were there before the first start are heard, at this price of an hour of audio"
            ),
        }
    }

    pub(super) async fn skip(&self, old: Vec<Found>) -> Result<(), LedgerError> {
        if old.is_empty() {
            return Ok(());
        }
        let source = self.around.destination.source.clone();
        self.around
            .ledger
            .write(move |connection| {
                old.iter().try_for_each(|found| intake::skip(connection, &source, found))
            })
            .await
    }
}
