//! The three kinds of look at a folder: a full scan, a look at hinted paths, and a look at files that should have stood still by now.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use tracing::{info, trace};

use super::file_filter::Entered;
use super::root::{Root, look_into};
use super::scan::{PIECE, Scan, ScanError, blocking, now};
use super::walk::{Found, Walk, kind};
use super::watch::Hints;
use crate::job::audio::is_absence;
use crate::job::ledger::places::Place;

impl Scan {
    /// A full scan.
    ///
    /// # Errors
    /// When the folder itself is absent or cannot be read, or the ledger is closed.
    pub async fn everything(&mut self) -> Result<(), ScanError> {
        self.look += 1;
        self.settling.scanned();
        self.seen = Ok(());
        let root = self.around.file_filter.root.clone();
        let (opened, status) = look_into(&root).await?;
        // Another filesystem may have been mounted at the folder since the last look.
        let is_network = opened.is_network();
        if is_network && !self.is_network {
            let source = &self.around.destination.source;
            info!(
                source,
                "the folder is on a network filesystem, which sends no events of changes; the daemon scans it more often"
            );
        }
        self.is_network = is_network;
        self.settling.trust_ctime(!self.is_network);
        self.hintless = self.is_network || self.around.watch.is_none();
        self.meet(Place { dev: status.st_dev, inode: status.st_ino }).await?;
        let mut devices = HashSet::from([status.st_dev]);
        let met = self.walk(opened, &root, &mut devices).await?;
        trace!(source = self.around.destination.source, known = met, "full scan ended");
        self.places_are_scanned(&devices).await?;
        self.forget_gone(met, devices).await?;
        self.ended();
        Ok(())
    }

    /// Looks at the paths of hints.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn hinted(&mut self, hints: Hints) -> Result<(), ScanError> {
        trace!(
            source = self.around.destination.source,
            paths = hints.paths.len(),
            "looking where hints point"
        );
        self.look += 1;
        let file_filter = Arc::clone(&self.around.file_filter);
        let (found, folders, absent) = blocking(move || {
            let (mut folders, mut found, mut absent) = (Vec::new(), Vec::new(), Vec::new());
            // If the folder is absent, the next full scan reports that.
            let Ok(root) = Root::open(&file_filter.root) else { return (found, folders, absent) };
            for path in hints.paths {
                // A watch stays with its folder when the folder is moved, and reports events under the folder's former path.
                match root.status(&path) {
                    Ok(status) if kind(&status).is_dir() && file_filter.enters(&path) == Entered::Yes => {
                        folders.push(path);
                    }
                    Ok(_) if file_filter.wants(&path) => found.extend(Found::at(&root, path)),
                    Err(error) if is_absence(&error) && file_filter.wants(&path) => absent.push(path),
                    _ => {}
                }
            }
            (found, folders, absent)
        })
        .await?;
        self.note_absent(absent).await?;
        self.look_at(found).await?;
        for folder in folders {
            let path = self.around.file_filter.root.clone();
            if let Ok(root) = blocking(move || Root::open(&path)).await? {
                self.walk(root, &folder, &mut HashSet::new()).await?;
            }
        }
        self.ended();
        Ok(())
    }

    /// Looks at the files that should have stood still by now.
    ///
    /// # Errors
    /// When the ledger is closed.
    pub async fn due(&mut self) -> Result<(), ScanError> {
        self.look += 1;
        let due = self.settling.take_due(now());
        let file_filter = Arc::clone(&self.around.file_filter);
        let (found, gone) = blocking(move || {
            let mut gone = Vec::new();
            let root = Root::open(&file_filter.root).ok();
            let found: Vec<Found> = due
                .into_iter()
                .filter_map(|path| {
                    let found = root.as_ref().and_then(|root| Found::at(root, path.clone()));
                    if found.is_none() {
                        gone.push(path);
                    }
                    found
                })
                .collect();
            (found, gone)
        })
        .await?;
        gone.iter().for_each(|path| self.settling.forget(path));
        self.look_at(found).await?;
        self.ended();
        Ok(())
    }

    /// Returns how many of the files that it met the ledger knows by path.
    async fn walk(
        &mut self,
        root: Root,
        folder: &Path,
        devices: &mut HashSet<u64>,
    ) -> Result<u64, ScanError> {
        let (file_filter, watch) = (Arc::clone(&self.around.file_filter), self.around.watch.clone());
        let start = folder.to_owned();
        let mut walk = blocking(move || Walk::of(root, &start, file_filter, watch)).await?;
        let mut met = 0;
        loop {
            let (walked, piece) = blocking(move || {
                let piece = walk.next(PIECE);
                (walk, piece)
            })
            .await?;
            walk = walked;
            for trouble in walk.take_troubles() {
                self.complain_of(&trouble);
            }
            if piece.is_empty() {
                return Ok(met);
            }
            devices.extend(piece.iter().map(|found| found.stamp.identity.dev));
            met += self.look_at(piece).await?;
        }
    }
}
