//! Following files that are under another name now, or on a filesystem that has another number.

use super::intake;
use super::scan::{Scan, ScanError, blocking};
use super::walk::Found;
use crate::job::Duty;
use crate::job::ledger::LedgerError;
use crate::job::ledger::files::Known;

impl Scan {
    /// Notes where moved files are now, all of them at once: a folder that was renamed, or mounted again, may hold a hundred thousand.
    /// Returns those that were not moved.
    pub(super) async fn follow(
        &mut self,
        candidates: Vec<(Found, Vec<Known>)>,
    ) -> Result<Vec<Found>, ScanError> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let with_old = blocking(move || {
            let old = |(found, twins): (Found, Vec<Known>)| {
                // At its own place a file is not moved, only its filesystem.
                let is_old = |known: &Known| known.path == found.path || intake::is_vacated(known);
                let old = twins.into_iter().find(is_old);
                (found, old)
            };
            candidates.into_iter().map(old).collect::<Vec<_>>()
        })
        .await?;
        let to = self.around.destination.clone();
        let follow = self.around.ledger.write(move |connection| {
            with_old
                .iter()
                .map(|(found, old)| {
                    let is_moved = match old {
                        Some(old) => intake::take_from(connection, &to, old, found)?,
                        None => false,
                    };
                    Ok((found.clone(), is_moved))
                })
                .collect::<Result<Vec<_>, LedgerError>>()
        });
        let followed = follow.await?;
        if self.around.destination.puts_away {
            // Some may have been missed when they were to be put away.
            self.around.ledger.wake(Duty::Settle);
        }
        let mut others = Vec::new();
        for (found, is_moved) in followed {
            if is_moved {
                self.settling.forget(&found.path);
            } else {
                others.push(found);
            }
        }
        Ok(others)
    }
}
