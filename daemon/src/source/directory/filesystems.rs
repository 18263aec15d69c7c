//! Files that were there before the folder was first watched: which these are, and what their recognition costs.
//!
//! A disk may be mounted at the folder, or below it, long after the first start. Therefore each of them (the folder itself, by its device and
//! inode, and each filesystem below it) has a first scan of its own when the daemon first meets it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::context::{BATCH, Context};
use super::found::Found;
use super::standing_still::now;
use crate::config::Existing;
use crate::job::FileIdentity;
use crate::job::ledger::filesystems::{self, Filesystem};
use crate::job::ledger::{LedgerError, files};

/// A file's ctime comes from the kernel's coarse clock, which lags behind the clock read here by a timer tick (10 ms at most; more on a
/// virtual machine that was paused). A file that appeared within this time before the first start counts as new: it is recognized, not
/// lost.
const CTIME_LAG: Duration = Duration::from_millis(100);

/// The filesystems that were met, by device.
#[derive(Debug, Default)]
pub(super) struct Filesystems(HashMap<u64, Met>);

/// A filesystem, and the files met there that are older than the source.
#[derive(Debug)]
struct Met {
    filesystem: Filesystem,
    /// When the folder was to be watched for the first time; `None` once the first scan of the filesystem has ended.
    since_ns: Option<i64>,
    files: u64,
    bytes: u64,
}

/// Notes when a folder is to be watched for the first time. The folder need not exist yet: files that appear with it are new.
///
/// # Errors
/// When the ledger cannot be written.
pub(super) async fn want(context: &Arc<Context>) -> Result<(), LedgerError> {
    let now_ns = now().wall_ns - i64::try_from(CTIME_LAG.as_nanos()).unwrap_or(0);
    context.write(move |c, context| filesystems::want(c, context.source(), context.root(), now_ns)).await
}

impl Filesystems {
    /// Meets a filesystem. A known filesystem may have a new device or inode number, because it was mounted again or copied; it is recognized by
    /// files that the ledger knows by path.
    pub async fn meet(&mut self, context: &Arc<Context>, filesystem: Filesystem) -> Result<(), LedgerError> {
        let is_met = |met: &Met| filesystem.inode == 0 || met.filesystem == filesystem;
        if self.0.get(&filesystem.dev).is_some_and(is_met) {
            return Ok(());
        }
        let found = move |c: &_, context: &Context| {
            filesystems::find(c, context.source(), context.root(), filesystem)
        };
        let since_ns = match context.read(found).await? {
            Some(since_ns) => since_ns,
            None => {
                let some = context.read(|c, context| files::page(c, context.source(), None, BATCH)).await?;
                let is_known = context.in_folder(move |root, _| {
                    some.iter().any(|known| {
                        root.status(&known.path).is_ok_and(|status| {
                            status.st_dev == filesystem.dev
                                && FileIdentity::of(&status).is_unchanged(&known.identity)
                        })
                    })
                });
                let is_known = is_known.await?.unwrap_or(false);
                let meet = move |c: &_, context: &Context| {
                    filesystems::meet(c, context.source(), context.root(), filesystem, is_known)
                };
                context.write(meet).await?
            }
        };
        self.0.insert(filesystem.dev, Met { filesystem, since_ns, files: 0, bytes: 0 });
        Ok(())
    }

    /// Whether a file was there before the folder was first watched; if so, counts it. The file's ctime decides, so a crash during the first
    /// scan changes nothing: with `existing = "skip"` older files stay unheard, and newer ones are recognized.
    pub fn was_before(&mut self, found: &Found) -> bool {
        let Some(met) = self.0.get_mut(&found.stamp.identity.dev) else { return false };
        if met.since_ns.is_none_or(|since| found.stamp.ctime_ns >= since) {
            return false;
        }
        // During the first scan no other look runs, so each file is counted once.
        met.files += 1;
        met.bytes += found.stamp.identity.size;
        true
    }

    /// Ends the first scan of each filesystem that was met on these devices, and logs the number of older files.
    pub async fn end_first_scans(
        &mut self,
        context: &Arc<Context>,
        devices: &HashSet<u64>,
    ) -> Result<(), LedgerError> {
        let (mut files, mut bytes, mut scanned) = (0, 0, Vec::new());
        for met in self.0.values_mut().filter(|met| devices.contains(&met.filesystem.dev)) {
            if met.since_ns.take().is_some() {
                files += met.files;
                bytes += met.bytes;
                scanned.push(met.filesystem);
            }
        }
        if !scanned.is_empty() {
            let note = move |c: &_, context: &Context| {
                scanned.iter().try_for_each(|filesystem| {
                    filesystems::scanned(c, context.source(), context.root(), *filesystem)
                })
            };
            context.write(note).await?;
        }
        if files > 0 {
            log_older_files(context, files, bytes);
        }
        Ok(())
    }
}

/// Logs the number of older files and the price of an hour of audio. The total price would need each file's duration, which only a probe of
/// the file finds out.
fn log_older_files(context: &Context, files: u64, bytes: u64) {
    let usd_per_hour = context.usd_per_hour;
    let what = match context.config.existing {
        Existing::Skip => {
            "are skipped; existing = \"process\" takes them in a new source, at this price of an hour of audio"
        }
        Existing::Process => "are recognized, at this price of an hour of audio",
    };
    let source = context.source();
    info!(source, files, bytes, usd_per_hour, "files from before the first start {what}");
}
