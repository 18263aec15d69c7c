//! The sources of the config as one unit: started together, and notified of the end of a job.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{Instrument, info_span, warn};

use super::DaemonError;
use super::tasks::{EssentialTasks, Stages};
use crate::api::steer::sources::Board;
use crate::broker;
use crate::config::{AllowList, Config, Source};
use crate::job::job_machine::Fact;
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::piece_machine::Policy;
use crate::job::{Job, Stage, spool};
use crate::share::{Claims, Fence};
use crate::source::directory::Directory;
use crate::source::nats::{self, Slots, Subject};
use crate::source::switch::Switch;
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// How long the daemon waits before it tries again to move or delete a file.
const PUT_AWAY_AGAIN: Duration = Duration::from_secs(1);

/// What a source reports.
pub(super) struct Watched {
    pub name: String,
    /// `Ok` while it watches, else why not.
    pub state: watch::Receiver<Result<(), String>>,
    /// A paused source is not unready.
    pub switch: Switch,
}

/// The sources by name, for what they do at the end of a job.
#[derive(Clone, Default)]
pub(super) struct Sources {
    directories: Arc<HashMap<String, Arc<Directory>>>,
    subjects: Arc<HashMap<String, Arc<Subject>>>,
    not_put_away: OnceAMinute,
    /// `state.keep_failed`.
    keep_failed: Duration,
}

impl Sources {
    /// Builds the sources of the config; none runs yet.
    pub fn build(
        config: &Config,
        ledger: &Ledger,
        claims: &Claims,
        connection: &broker::JetStream,
        policy: &Policy,
        metrics: &Metrics,
    ) -> Result<Sources, DaemonError> {
        let flash = config.dashscope.flash_model();
        let usd_per_hour = |route: &str| {
            let engine = config.route(route).and_then(|route| route.engine.name()).unwrap_or_default();
            let price = policy.prices.of(engine, flash);
            price.cost_micro(price.estimate(3_600)) as f64 / 1e6
        };
        let mut directories = HashMap::new();
        let mut subjects = HashMap::new();
        for source in &config.source {
            // A counter that appears with its first failure would show no increase from zero to one.
            metrics.source_accepted.with_label_values(&[source.name()]).inc_by(0);
            for outcome in ["completed", "failed"] {
                metrics.job_ended.with_label_values(&[source.name(), outcome]).inc_by(0);
            }
            match source {
                Source::Directory(source) => {
                    let directory = Directory::new(
                        source.clone(),
                        ledger.clone(),
                        metrics.clone(),
                        usd_per_hour(&source.route),
                    )
                    .map_err(|error| DaemonError::Config(format!("source {}: {error}", source.name)))?;
                    directories.insert(source.name.clone(), Arc::new(directory));
                }
                Source::Nats(source) => {
                    let fence = Fence::new(connection.clone(), &config.nats, claims.clone());
                    let around = nats::Surroundings {
                        nats: config.nats.clone(),
                        jetstream: connection.clone(),
                        ledger: ledger.clone(),
                        claims: claims.clone(),
                        fence,
                        state_directory: config.state.directory.clone(),
                        allow: AllowList::parse(&config.security.allow_urls).map_err(DaemonError::Config)?,
                        unheeded: config.unheeded(),
                        // Twice the number of recordings under way, so that no free request waits for a message; a larger number would keep
                        // messages from other daemons.
                        slots: Slots {
                            waiting: 2 * config.dashscope.concurrency,
                            tasks: config.dashscope.filetrans_concurrency,
                        },
                        policy: policy.clone(),
                        metrics: metrics.clone(),
                    };
                    subjects.insert(source.name.clone(), Arc::new(Subject::new(source.clone(), around)));
                }
            }
        }
        Ok(Sources {
            directories: Arc::new(directories),
            subjects: Arc::new(subjects),
            not_put_away: OnceAMinute::default(),
            keep_failed: config.state.keep_failed,
        })
    }

    /// Starts every source as an essential task, those of `paused` paused, and puts it on the board; returns each source's reports.
    pub fn start(
        &self,
        config: &Config,
        board: &Board,
        paused: &BTreeMap<String, Timestamp>,
        tasks: &mut EssentialTasks,
        stages: &Stages,
    ) -> Vec<Watched> {
        let mut watching = Vec::new();
        let mut report = |name: &str, switch: &Switch| {
            let (sender, state) = watch::channel(Err("starting".to_owned()));
            switch.pause(paused.contains_key(name));
            if let Some(source) = config.source.iter().find(|source| source.name() == name) {
                board.put(source, switch.clone(), state.clone());
            }
            watching.push(Watched { name: name.to_owned(), state, switch: switch.clone() });
            sender
        };
        for (name, directory) in self.directories.iter() {
            let sender = report(name, directory.switch());
            let (directory, stop) = (Arc::clone(directory), stages.sources.clone());
            let run = async move { Ok(directory.run(sender, stop).await?) };
            tasks.essential(&format!("source {name}"), run.instrument(info_span!("source", source = name)));
        }
        for (name, subject) in self.subjects.iter() {
            let sender = report(name, subject.switch());
            let (subject, stop) = (Arc::clone(subject), stages.sources.clone());
            let (span, name) = (info_span!("source", source = name), name.clone());
            tasks.essential(&format!("source {name}"), async move {
                let outcome = subject.run(sender, stop).instrument(span).await;
                outcome.map_err(|error| match error {
                    nats::SourceError::Ledger(error) => error.into(),
                    error => DaemonError::Config(format!("source {name}: {error}")),
                })
            });
        }
        watching
    }

    /// Carries out `Duty::Settle`. A job whose source is no longer in the config is settled without the source.
    pub async fn settle(self, job: Job, ledger: Ledger, claims: Claims) -> Result<(), LedgerError> {
        let Stage::Stored { failed, bad_input } = job.stage else { return Ok(()) };
        let mut missed = false;
        if let Some(directory) = self.directories.get(&job.source) {
            missed = match directory.settle(&job, failed).await {
                Ok(missed) => missed,
                Err(error) => {
                    if self.not_put_away.is_time() {
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
        if let Some(subject) = self.subjects.values().next() {
            subject.delete_object(&job).await;
        }
        ledger.advance(job.id, Fact::Settled { missed }).await?;
        if job.missing {
            // Only the job's file had still to be put away; its message was acknowledged long ago.
            return Ok(());
        }
        let keeps_audio = spool::is_kept(&job, failed, self.keep_failed);
        // The message is acknowledged last: after a crash in between, the next delivery finds the job settled and is acknowledged.
        // Each source is tried: the message may have been redelivered to another source, or its source may have another name by now.
        for subject in self.subjects.values() {
            subject.settle(job.id, bad_input, keeps_audio).await;
        }
        Ok(())
    }
}
