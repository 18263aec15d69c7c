//! Following files that are under another name now, or on a filesystem that has another number.

use super::intake::{self, Moved};
use super::root::Root;
use super::scan::{Scan, ScanError, blocking, now};
use super::walk::Found;
use crate::job::Duty;
use crate::job::ledger::LedgerError;
use crate::job::ledger::files::Known;

impl Scan {
    /// Notes where moved files are now, all of them at once: a folder that was renamed, or mounted again, may hold a hundred thousand.
    /// Returns those that were not moved. One that may be another, renamed just when it was to be put away, is looked at again.
    pub(super) async fn follow(
        &mut self,
        candidates: Vec<(Found, Vec<Known>)>,
    ) -> Result<Vec<Found>, ScanError> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.around.choice.root.clone();
        let with_old = blocking(move || {
            let root = Root::open(&path).ok();
            let is_vacated =
                |known: &Known| root.as_ref().is_some_and(|root| intake::is_vacated(root, known));
            let old = |(found, twins): (Found, Vec<Known>)| {
                // At its own place a file is not moved, only its filesystem.
                let is_old = |known: &Known| known.path == found.path || is_vacated(known);
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
                    let moved = match old {
                        Some(old) => intake::take_from(connection, &to, old, found)?,
                        None => Moved::Elsewhere,
                    };
                    Ok((found.clone(), moved))
                })
                .collect::<Result<Vec<_>, LedgerError>>()
        });
        let followed = follow.await?;
        if self.around.destination.puts_away {
            // Some may have been missed when they were to be put away.
            self.around.ledger.wake(Duty::Settle);
        }
        let mut others = Vec::new();
        for (found, moved) in followed {
            match moved {
                Moved::Here => self.settling.forget(&found.path),
                Moved::PerhapsHere => self.settling.postpone(&found.path, found.stamp, now()),
                Moved::Elsewhere => others.push(found),
            }
        }
        Ok(others)
    }
}
