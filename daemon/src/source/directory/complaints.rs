//! What a scan has to say to the operator, once each.

use std::collections::HashSet;
use std::time::Duration;

use tracing::warn;

use super::root::remedy;
use super::scan::{Scan, now};
use super::walk::{Found, Trouble};

/// An empty file is mentioned when it has been one for so long.
const EMPTY_FOR: Duration = Duration::from_secs(60);

/// Things that were complained about, so as not to do it again at each scan.
const MOST_COMPLAINTS: usize = 1_000;

/// What was complained about already.
#[derive(Default)]
pub struct Complaints(HashSet<String>);

impl Complaints {
    /// Whether this was not said yet; after [`MOST_COMPLAINTS`] nothing new is said.
    pub fn is_first(&mut self, key: String) -> bool {
        self.0.len() < MOST_COMPLAINTS && self.0.insert(key)
    }
}

/// A file as it is now: when it has changed, it may be complained about again.
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

    pub(super) fn complain_of(&mut self, trouble: &Trouble) {
        let source = &self.around.destination.source;
        let (key, message) = match trouble {
            Trouble::Watch(error) => {
                self.hintless = true;
                (error.key(), format!("{error}; until then changes are found by rescans alone"))
            }
            Trouble::List(folder, error) => {
                self.hintless = true;
                let (folder, remedy) = (folder.display().to_string(), remedy(error));
                let message = format!(
                    "listing {folder}: {error}; {remedy}; until then nothing that comes into it is heard"
                );
                (folder, message)
            }
        };
        if self.complaints.is_first(key) {
            warn!(source, "{message}");
        }
    }
}
