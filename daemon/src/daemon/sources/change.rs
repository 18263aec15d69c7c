//! How the sources follow another config.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, Kind, terms};
use super::{STARTING, Sources, Watched};
use crate::config::{Config, DirectorySource, Source};
use crate::daemon::tasks::{EssentialTasks, Stages};
use crate::job::ledger::{LedgerError, pause};
use crate::source::nats::MessageRules;
use crate::work::Settings;

/// The longest wait for a source to take nothing in any more, before the one that follows it begins.
const HANDOVER: Duration = Duration::from_secs(20);

/// The longest wait for the sources of a reloaded config to watch: a reload has ended when they do, or have something to say.
const BEGUN: Duration = Duration::from_secs(2);

/// What another config makes of the sources.
pub(in crate::daemon) struct Next {
    terms: MessageRules,
    steps: BTreeMap<String, Step>,
}

enum Step {
    /// The source goes on.
    Stays,
    /// The source goes on, with another config.
    Follows,
    /// It begins; one that has its name ends.
    Begins(Box<Entry>),
}

impl Sources {
    /// What the next config makes of the sources; changes nothing.
    ///
    /// # Errors
    /// Each source that cannot run with it, a sentence each.
    pub async fn prepare(&self, config: &Config, settings: &Settings) -> Result<Next, Vec<String>> {
        let (mut steps, mut mistakes) = (BTreeMap::new(), Vec::new());
        for source in &config.source {
            let before = self.0.present.read().get(source.name()).cloned();
            let (step, kind) = match before {
                Some(before) if before.config == *source => (Step::Stays, None),
                Some(before) if is_alike(&before.config, source) => (Step::Follows, Some(before.kind)),
                _ => match self.0.handles.entry(source, config, settings) {
                    Ok(entry) => (Step::Begins(Box::new(entry.clone())), Some(entry.kind)),
                    Err(mistake) => {
                        mistakes.push(mistake);
                        continue;
                    }
                },
            };
            if let (Some(Kind::Subject(subject)), Source::Nats(source)) = (kind, source)
                && let Err(error) = subject.fits(&source.subject).await
            {
                mistakes.push(format!("source {}: {error}", source.name));
            }
            steps.insert(source.name().to_owned(), step);
        }
        match terms(config, settings) {
            terms if mistakes.is_empty() => Ok(Next { terms, steps }),
            _ => Err(mistakes),
        }
    }

    /// Ends the sources that the next config does not have, and starts those that it adds. A source that it leaves as it was goes on
    /// untouched. One that is changed begins as soon as the one before it takes nothing in any more.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn change(
        &self,
        config: &Config,
        mut next: Next,
        tasks: &mut EssentialTasks,
        stages: &Stages,
    ) -> Result<(), LedgerError> {
        let paused = self.0.handles.ledger.read(pause::sources).await?;
        *self.0.handles.terms.write() = Arc::new(next.terms);
        let (mut begun, mut following) = (Vec::new(), Vec::new());
        {
            let (mut present, mut former) = (self.0.present.write(), self.0.former.write());
            let mut before = std::mem::take(&mut *present);
            for source in &config.source {
                let name = source.name().to_owned();
                let was = before.remove(&name);
                let entry = match (next.steps.remove(&name), was) {
                    (Some(Step::Begins(entry)), was) => {
                        let entry = *entry;
                        begun.push((entry.clone(), was.as_ref().map(|was| was.idle.clone())));
                        before.extend(was.map(|was| (name.clone(), was)));
                        entry
                    }
                    (Some(Step::Follows), Some(was)) => {
                        following.push((was.kind.clone(), source.clone()));
                        Entry { config: source.clone(), ..was }
                    }
                    (_, Some(was)) => was,
                    (_, None) => continue,
                };
                present.insert(name, entry);
            }
            former.retain(|entry| matches!(entry.kind, Kind::Directory(_)) || !entry.ended.is_cancelled());
            for entry in before.into_values() {
                entry.retire.cancel();
                former.retain(|other| !entry.replaces(other));
                former.push(entry);
            }
            let gone =
                former.iter().map(|entry| entry.config.name()).filter(|name| !present.contains_key(*name));
            gone.for_each(|name| self.0.board.remove(name));
            self.0.watching.send_modify(|watching| watching.retain(|name, _| present.contains_key(name)));
            for (name, Watched { state, switch }) in self.0.watching.borrow().iter() {
                if let Some(entry) = present.get(name) {
                    self.0.board.put(&entry.config, switch.clone(), state.clone());
                }
            }
        }
        for subject in self.subjects() {
            subject.look_again();
        }
        for (kind, source) in following {
            if let (Kind::Subject(subject), Source::Nats(source)) = (kind, source) {
                subject.reconfigure(source).await;
            }
        }
        for (entry, before) in begun {
            let name = format!("source {}", entry.config.name());
            entry.switch().pause(paused.contains_key(entry.config.name()));
            let run = self.watch(entry, stages, false);
            tasks.essential(&name, async move {
                if let Some(idle) = before {
                    let _ = tokio::time::timeout(HANDOVER, idle.cancelled()).await;
                }
                run.await
            });
        }
        let mut watching = self.0.watching.borrow().clone();
        // What `wait_for` returns locks the source's state: it is dropped at once.
        let begun = watching.values_mut().map(async |source: &mut Watched| {
            source.state.wait_for(|state| *state != Err(STARTING.to_owned())).await.is_ok()
        });
        let _ = tokio::time::timeout(BEGUN, futures::future::join_all(begun)).await;
        Ok(())
    }
}

/// Whether a running source can take another config over: a folder if only its priority or its budget differs, a NATS source if its stream is
/// the same, because it reads all other keys for each message.
fn is_alike(before: &Source, after: &Source) -> bool {
    match (before, after) {
        (Source::Directory(before), Source::Directory(after)) => {
            let (priority, daily_usd) = (after.priority, after.daily_usd);
            DirectorySource { priority, daily_usd, ..before.clone() } == *after
        }
        (Source::Nats(before), Source::Nats(after)) => before.stream == after.stream,
        _ => false,
    }
}
