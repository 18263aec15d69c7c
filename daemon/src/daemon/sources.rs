//! The sources of the config as one unit: started and ended one by one, and notified of the end of a job.

mod change;
mod entry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::{Instrument, error, info_span, warn};

use self::entry::{Entry, Handles, Kind, terms};
use super::DaemonError;
use super::tasks::{EssentialTasks, Stages};
use crate::api::steer::sources::Board;
use crate::broker;
use crate::config::{Config, Source};
use crate::job::job_machine::Fact;
use crate::job::ledger::{Ledger, LedgerError, pause};
use crate::job::{Job, Origin, Stage, spool};
use crate::share::Claims;
use crate::source::directory::Directory;
use crate::source::nats::{self, Ends, Subject};
use crate::source::switch::Switch;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;
use crate::work::Settings;

/// How long the daemon waits before it tries again to move or delete a file.
const PUT_AWAY_AGAIN: Duration = Duration::from_secs(1);

/// Pause before a source of a reloaded config is tried again that cannot run, such as one whose stream does not capture its subject.
const AGAIN: Duration = Duration::from_secs(5);

/// What a source reports before anything else.
pub(super) const STARTING: &str = "starting";

/// What a source reports.
#[derive(Clone)]
pub(super) struct Watched {
    /// `Ok` while it watches, else why not.
    pub state: watch::Receiver<Result<(), String>>,
    /// A paused source is not unready.
    pub switch: Switch,
}

/// What the sources report, by their names.
pub(super) type Watching = BTreeMap<String, Watched>;

/// The sources, for what they do at the end of a job. Clones share them.
#[derive(Clone)]
pub(super) struct Sources(Arc<Shared>);

struct Shared {
    handles: Handles,
    /// The sources of the config, by name.
    present: RwLock<BTreeMap<String, Entry>>,
    /// The sources of earlier configs, for jobs that are still open.
    former: RwLock<Vec<Entry>>,
    watching: watch::Sender<Watching>,
    /// Where operators find them.
    board: Board,
    config: watch::Receiver<Arc<Config>>,
    not_put_away: OnceAMinute,
}

impl Sources {
    /// Builds the sources of the config; none runs yet.
    pub fn build(
        in_force: watch::Receiver<Arc<Config>>,
        settings: &Settings,
        ledger: &Ledger,
        claims: &Claims,
        connection: &broker::JetStream,
        board: Board,
        metrics: &Metrics,
    ) -> Result<Sources, DaemonError> {
        let config = &Arc::clone(&in_force.borrow());
        let terms = terms(config, settings);
        let handles = Handles {
            ledger: ledger.clone(),
            claims: claims.clone(),
            connection: connection.clone(),
            nats: config.nats.clone(),
            state_directory: config.state.directory.clone(),
            terms: Arc::new(RwLock::new(Arc::new(terms))),
            metrics: metrics.clone(),
        };
        let entry =
            |source: &Source| Ok((source.name().to_owned(), handles.entry(source, config, settings)?));
        let present = config.source.iter().map(entry).collect::<Result<_, String>>();
        let present = present.map_err(DaemonError::Config)?;
        Ok(Sources(Arc::new(Shared {
            handles,
            present: RwLock::new(present),
            former: RwLock::default(),
            watching: watch::Sender::default(),
            board,
            config: in_force,
            not_put_away: OnceAMinute::default(),
        })))
    }

    /// Starts every source as an essential task; one that an operator has paused is paused.
    ///
    /// # Errors
    /// When the ledger is closed or damaged.
    pub async fn start(&self, tasks: &mut EssentialTasks, stages: &Stages) -> Result<(), LedgerError> {
        let paused = self.0.handles.ledger.read(pause::sources).await?;
        let entries: Vec<Entry> = self.0.present.read().values().cloned().collect();
        for entry in entries {
            entry.switch().pause(paused.contains_key(entry.config.name()));
            tasks.essential(&format!("source {}", entry.config.name()), self.watch(entry, stages, true));
        }
        Ok(())
    }

    /// What the sources report.
    pub fn watching(&self) -> watch::Receiver<Watching> {
        self.0.watching.subscribe()
    }

    /// Runs a source until the daemon stops, or the config does not have it any more. `is_first`: of the config that the daemon started with;
    /// one that cannot run then ends the daemon.
    fn watch(
        &self,
        entry: Entry,
        stages: &Stages,
        is_first: bool,
    ) -> BoxFuture<'static, Result<(), DaemonError>> {
        let switch = entry.switch().clone();
        let Entry { config, kind, retire, idle, ended } = entry;
        let when_ended = idle.clone();
        let (name, stop) = (config.name().to_owned(), stages.sources.clone());
        let (sender, state) = watch::channel(Err(STARTING.to_owned()));
        self.0.board.put(&config, switch.clone(), state.clone());
        let watched = Watched { state, switch };
        self.0.watching.send_modify(|watching| drop(watching.insert(name.clone(), watched)));
        let span = info_span!("source", source = name);
        let run = async move {
            let subject = match kind {
                Kind::Directory(directory) => {
                    let outcome = retire.run_until_cancelled(directory.run(sender, stop)).await;
                    return Ok(outcome.unwrap_or(Ok(()))?);
                }
                Kind::Subject(subject) => subject,
            };
            let ends = Ends { retire: retire.clone(), idle, stop };
            loop {
                match subject.run(&sender, &ends).await {
                    Ok(()) => return Ok(()),
                    Err(nats::SourceError::Ledger(error)) => return Err(error.into()),
                    Err(error) if is_first => {
                        return Err(DaemonError::Config(format!("source {name}: {error}")));
                    }
                    Err(error) => {
                        error!(source = name, %error, "the source of the reloaded config cannot run; trying again");
                        drop(sender.send_replace(Err(error.to_string())));
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    () = retire.cancelled() => return Ok(()),
                    () = ends.stop.cancelled() => return Ok(()),
                }
            }
        };
        // In a box, for it is large, and each future around it would take its size once more of the stack.
        Box::pin(async move {
            let _ended = (ended.drop_guard(), when_ended.drop_guard());
            run.instrument(span).await
        })
    }

    /// The folder of a job's file, also if the config does not watch it any more.
    fn directory_of(&self, job: &Job) -> Option<Arc<Directory>> {
        let present = self.0.present.read().get(&job.source).cloned();
        let former = self.0.former.read();
        let of_name = present.iter().chain(former.iter().filter(|entry| entry.config.name() == job.source));
        let directories: Vec<&Arc<Directory>> = of_name.filter_map(Entry::directory).collect();
        let is_of = |directory: &&&Arc<Directory>| match &job.origin {
            Origin::File { root, .. } => directory.root() == root,
            _ => false,
        };
        directories.iter().find(is_of).or(directories.first()).map(|directory| Arc::clone(directory))
    }

    fn subjects(&self) -> Vec<Arc<Subject>> {
        let subject = |entry: &Entry| match &entry.kind {
            Kind::Subject(subject) => Some(Arc::clone(subject)),
            Kind::Directory(_) => None,
        };
        let present: Vec<_> = self.0.present.read().values().filter_map(subject).collect();
        let former = self.0.former.read();
        present.into_iter().chain(former.iter().filter_map(subject)).collect()
    }

    /// Carries out `Duty::Settle`. A job whose source is no longer in the config is settled without the source.
    pub async fn settle(self, job: Job, ledger: Ledger, claims: Claims) -> Result<(), LedgerError> {
        let Stage::Stored { failed, bad_input } = job.stage else { return Ok(()) };
        let mut missed = false;
        if let Some(directory) = self.directory_of(&job) {
            missed = match directory.settle(&job, failed).await {
                Ok(missed) => missed,
                Err(error) => {
                    if self.0.not_put_away.is_time() {
                        warn!(job = %job.id, source = job.source, %error, "recordings cannot be moved or deleted and stay where they are; trying again");
                    }
                    // Besides the postponement, a pause in this slot of the lane: with a full disk, a thousand files are not all tried at
                    // once.
                    tokio::time::sleep(PUT_AWAY_AGAIN).await;
                    return ledger.postpone(job.id, jiff::Timestamp::now() + PUT_AWAY_AGAIN).await;
                }
            };
        }
        match claims.write(&job, &[]).await {
            Ok(true) => {}
            // The daemon that took the job over will find the last event stored, and acknowledge the message.
            Ok(false) => return claims.let_go(job.id).await,
            Err(unconfirmed) => {
                warn!(job = %job.id, source = job.source, %unconfirmed, "the job has ended, but its claim cannot be updated; trying again");
                return ledger.postpone(job.id, jiff::Timestamp::now() + Duration::from_secs(2)).await;
            }
        }
        // Before the ledger has the job as settled, so that a crash in between leaves no object behind. Every source has the same broker.
        let subjects = self.subjects();
        if let Some(subject) = subjects.first() {
            subject.delete_object(&job).await;
        }
        ledger.advance(job.id, Fact::Settled { missed }).await?;
        if job.missing {
            // Only the job's file had still to be put away; its message was acknowledged long ago.
            return Ok(());
        }
        // The message is acknowledged last: after a crash in between, the next delivery finds the job settled and is acknowledged.
        // Each source is tried: the message may have been redelivered to another source, or its source may have another name by now.
        let keeps_audio = spool::is_kept(&job, failed, self.0.config.borrow().state.keep_failed);
        for subject in subjects {
            subject.settle(job.id, bad_input, keeps_audio).await;
        }
        Ok(())
    }
}
