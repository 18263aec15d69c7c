//! Follows known files that have another path now, or whose filesystem has another device number.

use super::identity::{Which, which};
use super::intake::{self, Moved};
use super::kept::Reason;
use super::root::Root;
use super::scan::{Scan, ScanError, blocking, now};
use super::walk::Found;
use crate::job::Duty;
use crate::job::ledger::LedgerError;
use crate::job::ledger::files::Known;

impl Scan {
    /// Notes the new paths of moved files, all in one transaction: a folder that was renamed, or mounted again, may hold a hundred
    /// thousand files. Returns the files that were not moved. A file whose candidate is being put away now is looked at again later.
    pub(super) async fn follow(
        &mut self,
        candidates: Vec<(Found, Vec<Known>)>,
    ) -> Result<Vec<Found>, ScanError> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.around.file_filter.root.clone();
        let known = blocking(move || {
            let root = Root::open(&path).ok();
            let which = |(found, candidates): (Found, Vec<Known>)| {
                let which = root.as_ref().map_or(Which::New, |root| which(root, &found, candidates));
                (found, which)
            };
            candidates.into_iter().map(which).collect::<Vec<_>>()
        })
        .await?;
        let to = self.around.destination.clone();
        let follow = self.around.ledger.write(move |connection| {
            let follow = |(found, which): &(Found, Which)| {
                let moved = match which {
                    Which::Row(old) => intake::take_from(connection, &to, old, found)?,
                    Which::SecondName => Moved::Here,
                    Which::New => Moved::Elsewhere,
                };
                let row = if let Which::Row(old) = which { Some(old.id) } else { None };
                Ok((found.clone(), moved, row))
            };
            known.iter().map(follow).collect::<Result<Vec<_>, LedgerError>>()
        });
        let followed = follow.await?;
        if self.around.destination.puts_away {
            // Some of these files may have been absent when they were to be put away.
            self.around.ledger.wake(Duty::Settle);
        }
        let mut others = Vec::new();
        for (found, moved, row) in followed {
            match moved {
                Moved::Here => {
                    self.settling.forget(&found.path);
                    if let Some(row) = row {
                        self.absences.is_back(row);
                        self.kept.add(Reason::Moved, &found.path);
                    }
                }
                Moved::PerhapsHere => self.settling.postpone(&found.path, found.stamp, now(), self.look),
                Moved::Elsewhere => others.push(found),
            }
        }
        Ok(others)
    }
}
