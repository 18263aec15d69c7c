//! Files that were there before the folder was first watched: which these are, and what their recognition costs.
//!
//! A disk may be mounted at the folder, or below it, long after the first start. Therefore each place (the folder itself, by its device and
//! inode, and each filesystem below it) has a first scan of its own when the daemon first meets it.

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

/// A file's ctime comes from the kernel's coarse clock, which lags behind the clock read here by a timer tick (10 ms at most; more on a
/// virtual machine that was paused). A file that appeared within this time before the first start counts as new: it is recognized, not
/// lost.
const CTIME_LAG: Duration = Duration::from_millis(100);

/// A place, and the files met there that are older than the source.
#[derive(Debug)]
pub(super) struct Met {
    place: Place,
    /// When the folder was to be watched for the first time; `None` once the first scan of the place has ended.
    since_ns: Option<i64>,
    files: u64,
    bytes: u64,
}

/// Notes when a folder is to be watched for the first time. The folder need not exist yet: files that appear with it are new.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn want(ledger: &Ledger, source: &str, root: &Path) -> Result<(), LedgerError> {
    let (source, root) = (source.to_owned(), root.to_owned());
    let now_ns = now().wall_ns - i64::try_from(CTIME_LAG.as_nanos()).unwrap_or(0);
    ledger.write(move |connection| places::want(connection, &source, &root, now_ns)).await
}

impl Scan {
    /// Meets a place. A known place may have a new device or inode number, because it was mounted again or copied; it is recognized by
    /// files that the ledger knows by path.
    pub(super) async fn meet(&mut self, place: Place) -> Result<(), LedgerError> {
        let is_met = |met: &Met| place.inode == 0 || met.place == place;
        if self.places.get(&place.dev).is_some_and(is_met) {
            return Ok(());
        }
        let (source, path) = (self.around.destination.source.clone(), self.around.file_filter.root.clone());
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

    /// Whether a file was there before the folder was first watched; if so, counts it. The file's ctime decides, so a crash during the first
    /// scan changes nothing: with `existing = "skip"` older files stay unheard, and newer ones are recognized.
    pub(super) fn was_before(&mut self, found: &Found) -> bool {
        let Some(met) = self.places.get_mut(&found.stamp.identity.dev) else { return false };
        if met.since_ns.is_none_or(|since| found.stamp.ctime_ns >= since) {
            return false;
        }
        // During the first scan no other look runs, so each file is counted once.
        met.files += 1;
        met.bytes += found.stamp.identity.size;
        true
    }

    /// Ends the first scan of each place that was met. Does not end it if a folder could not be listed, because files in that folder may be
    /// older than the source.
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
        let (source, path) = (self.around.destination.source.clone(), self.around.file_filter.root.clone());
        let scanned = move |c: &Connection| {
            places.iter().try_for_each(|place| places::scanned(c, &source, &path, *place))
        };
        self.around.ledger.write(scanned).await?;
        self.tell_of_before(files, bytes);
        Ok(())
    }

    /// Logs the number of older files and the price of an hour of audio. The total price would need each file's duration, which only a
    /// probe of the file finds out.
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
                "files from before the first start are skipped; existing = \"process\" takes them in a new source, at this price of an hour of audio"
            ),
            Existing::Process => info!(
                source,
                files,
                bytes,
                usd_per_hour,
                "files from before the first start are recognized, at this price of an hour of audio"
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
