//! What a scan logs for the operator, each cause once.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{info, warn};

use super::root::remedy;
use super::scan::{Scan, now};
use super::walk::{Found, Trouble};

/// An empty file is logged after it has been empty for this long.
const EMPTY_FOR: Duration = Duration::from_secs(60);

/// The most causes that are remembered, so that each is logged once and not at every scan.
const MOST_COMPLAINTS: usize = 1_000;

/// The causes that have been logged.
#[derive(Default)]
pub struct Complaints(HashSet<String>);

impl Complaints {
    /// Whether this cause has not been logged yet; after [`MOST_COMPLAINTS`] no new cause is logged.
    pub fn is_first(&mut self, key: String) -> bool {
        self.0.len() < MOST_COMPLAINTS && self.0.insert(key)
    }
}

/// The key of a file in its present state: after a change the file may be logged again.
pub fn key_of(found: &Found) -> String {
    format!("{:?}{:?}", found.path, found.stamp)
}

impl Scan {
    pub(super) fn mention_empty(&mut self, found: &Found) {
        let age = now().wall_ns.saturating_sub(found.stamp.ctime_ns);
        if age > i64::try_from(EMPTY_FOR.as_nanos()).unwrap_or(i64::MAX)
            && self.complaints.is_first(key_of(found))
        {
            let source = &self.around.destination.source;
            warn!(source, path = %found.path.display(), "the file is empty; it is no recording until something is written to it");
        }
    }

    /// If a recorder closes its file and opens it again, and `settle` is shorter than that pause, each part becomes a recording.
    pub(super) fn mention_grown(&mut self, found: &Found) {
        if self.grown.is_time() {
            let (source, settle) = (&self.around.destination.source, self.settling.settle());
            warn!(
                source,
                path = %found.path.display(),
                ?settle,
                "a recognized file grows; the daemon recognizes it again, at its full price, once it stands still. If its recorder pauses while it records, set `settle` to more than the pause"
            );
        }
    }

    pub(super) fn complain_of(&mut self, trouble: &Trouble) {
        let source = &self.around.destination.source;
        let (key, message) = match trouble {
            Trouble::PassedOver(path) => {
                let ending = path.extension().unwrap_or_default().display();
                if self.complaints.is_first(format!("include *.{ending}")) {
                    info!(source, path = %path.display(), "the file is ignored, and so are others with this ending: `include` does not name it");
                }
                return;
            }
            Trouble::Apart(path) => {
                let name = path.file_name().unwrap_or_default().display();
                if self.complaints.is_first(format!("apart {name}")) {
                    info!(source, path = %path.display(), "the folder is not entered, and others of its name: a NAS system or a desktop keeps it for itself");
                }
                return;
            }
            Trouble::Link(path) => {
                if self.complaints.is_first("link".into()) {
                    info!(source, path = %path.display(), "symbolic links are ignored, this one and others; put the file or folder itself there, or give the folder a source of its own");
                }
                return;
            }
            Trouble::Watch(error) => {
                self.hintless = true;
                (error.key(), format!("{error}; until then changes are found by rescans alone"))
            }
            Trouble::List(folder, error) => {
                self.hintless = true;
                let (name, remedy) = (folder.display().to_string(), remedy(error));
                let or =
                    if *folder == self.around.file_filter.root { "" } else { ", or name it in `exclude`" };
                let message = format!(
                    "listing {name}: {error}; {remedy}{or}; until then the daemon accepts no file from it"
                );
                if self.seen.is_ok() {
                    self.seen = Err(message.clone());
                }
                (name, message)
            }
        };
        if self.complaints.is_first(key) {
            warn!(source, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;
    use std::path::Path;
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::Existing;
    use crate::job::ledger::Ledger;
    use crate::source::directory::file_filter::FileFilter;
    use crate::source::directory::intake::Destination;
    use crate::source::directory::scan::Surroundings;
    use crate::telemetry::metrics::Metrics;

    async fn scan_of(root: &Path, ledger: Ledger) -> Scan {
        let around = Surroundings {
            destination: Destination {
                source: "calls".into(),
                root: root.to_owned(),
                route: "default".into(),
                puts_away: false,
            },
            file_filter: Arc::new(FileFilter::new(root.to_owned(), &["**/*".into()], &[], true).unwrap()),
            existing: Existing::Skip,
            price: 0.0,
            ledger,
            metrics: Metrics::new(),
            watch: None,
            stop: CancellationToken::new(),
        };
        Scan::begin(around, Duration::ZERO)
    }

    #[tokio::test]
    async fn a_listing_that_breaks_off_is_said_until_a_scan_has_seen_all() {
        const EIO: i32 = 5;
        const EACCES: i32 = 13;
        let disk = tempfile::tempdir().unwrap();
        let root = disk.path().join("calls");
        std::fs::create_dir(&root).unwrap();
        let mut scan = scan_of(&root, Ledger::open(&disk.path().join("state")).unwrap()).await;
        let below = root.join("shut");
        for trouble in [
            Trouble::List(below.clone(), Error::from_raw_os_error(EACCES)),
            Trouble::List(below, Error::from_raw_os_error(EIO)),
            Trouble::List(root.clone(), Error::from_raw_os_error(EIO)),
            Trouble::List(root, Error::from_raw_os_error(EACCES)),
        ] {
            scan.complain_of(&trouble);
            assert!(scan.seen.clone().unwrap_err().starts_with("listing "), "{trouble:?}");
            scan.everything().await.unwrap();
            assert_eq!(scan.seen, Ok(()));
        }
    }
}
