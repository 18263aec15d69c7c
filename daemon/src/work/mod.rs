//! The lanes' work on jobs and pieces between the ledger and the outbox, one file per duty.

pub mod cut;
pub mod fetch;
mod halves;
mod hints;
mod intend;
pub mod lane;
pub mod look;
pub mod objects;
mod open_files;
mod ownership_check;
pub mod partials;
pub mod pipe;
pub mod prepare;
pub mod probed;
mod recordings;
pub mod replan;
pub mod resolve;
mod revisions;
pub mod send;
mod settings;
mod slots;
pub mod tasks;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, Engine, Fault, Usage};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use self::objects::Objects;
pub use self::open_files::OpenFiles;
use self::partials::WaitingPartials;
pub use self::revisions::Revisions;
pub use self::settings::Settings;
pub use self::slots::Priorities;
pub use self::tasks::InFlight;
use crate::audio::Workers;
use crate::broker::JetStream;
use crate::config::Route;
use crate::job::ledger::{Ledger, LedgerError, advance};
use crate::job::piece_machine::PieceFact;
use crate::job::{Failure, Job, Piece, PieceId, PieceState, Plan, fault};
use crate::pipeline::Pipeline;
use crate::recognize::route::{Facts, plan};
use crate::recognize::{Error, Recognizer, Tries};
use crate::share::{Claims, Unconfirmed};
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// How soon the daemon asks again which daemon owns a job, after the bucket did not answer.
const UNCONFIRMED: Duration = Duration::from_secs(2);

/// What every lane between the ledger and the recognizers needs. Cheap to clone.
#[derive(Clone)]
pub struct Tools {
    pub ledger: Ledger,
    pub claims: Claims,
    /// For the objects that messages refer to.
    pub jetstream: JetStream,
    /// The settings with which this task began; it keeps them until it ends.
    pub settings: Arc<Settings>,
    /// The settings of the newest config; a reload replaces them.
    pub in_force: watch::Receiver<Arc<Settings>>,
    pub workers: Workers,
    pub state_directory: Arc<PathBuf>,
    /// Tasks in flight at the service.
    pub tasks: Arc<InFlight>,
    pub pipeline: Arc<Pipeline>,
    pub partials: WaitingPartials,
    /// The revisions of partials, by job.
    pub revisions: Revisions,
    pub files: Arc<OpenFiles>,
    /// Objects of the operator's bucket that no request in the ledger names yet.
    pub objects: Objects,
    /// Limits the warnings about missing descriptors, memory, processes and folders to one a minute.
    pub shortage: OnceAMinute,
    pub metrics: Metrics,
    /// Cancelled when no new request may leave.
    pub stop: CancellationToken,
}

/// A piece that a lane works on, with its job, as the ledger has them.
#[derive(Debug, Clone)]
pub struct PieceTask {
    pub job: Job,
    pub piece: Piece,
}

impl PieceTask {
    /// The piece's id.
    pub fn id(&self) -> PieceId {
        PieceId { job: self.job.id, number: self.piece.number }
    }

    /// Whether the piece waits to be sent.
    fn is_queued(&self) -> bool {
        self.piece.state == PieceState::Queued
    }

    /// The piece's number for events; `None` if the job has one piece, because its events need no number.
    fn number_in_events(&self) -> Option<u32> {
        (self.job.pieces > 1).then_some(self.piece.number)
    }
}

impl Tools {
    async fn advance_piece(
        &self,
        task: &PieceTask,
        fact: PieceFact,
        revision: u64,
    ) -> Result<(), LedgerError> {
        let advanced = self.ledger.advance_piece(task.id(), fact, revision, &self.settings.policy).await?;
        let claimed = advanced.filter(|advanced| advanced.job.ticket.is_some());
        // The outcome of a request is written into the claim at once, so that a daemon that takes the job over knows it.
        match claimed.and_then(|advanced| advanced.piece).map(|piece| piece.state) {
            Some(PieceState::Queued | PieceState::Awaiting { .. }) => self.claims.update(task.job.id).await,
            _ => Ok(()),
        }
    }

    /// Reads the piece again, if it still waits to be sent: while this task waited for a permit, the piece's file may have been moved.
    async fn still_queued(&self, task: &PieceTask) -> Result<Option<PieceTask>, LedgerError> {
        let found = self.ledger.find_piece(task.id()).await?;
        Ok(found.map(|(job, piece)| PieceTask { job, piece }).filter(PieceTask::is_queued))
    }

    /// The route and the plan of a piece that is to be sent. `None`: the piece is not to be sent now; its new state names its next duty.
    async fn planned_route(&self, task: &PieceTask) -> Result<Option<(Route, Plan)>, LedgerError> {
        let (true, Some(plan)) = (task.is_queued(), &task.job.plan) else { return Ok(None) };
        let route = match self.route(&task.job) {
            Ok(route) => route,
            Err(fault) => {
                self.fail_for_good(task, fault).await?;
                return Ok(None);
            }
        };
        let is_replanned = self.is_replanned(&task.job, plan, route).await?;
        Ok((!is_replanned).then(|| (route.clone(), plan.clone())))
    }

    /// Makes the job be planned anew if the present config gives it another plan (the model, the region, the route's engine) and no attempt
    /// may have cost anything; returns whether it did. Any other job keeps its plan.
    async fn is_replanned(&self, job: &Job, old: &Plan, route: &Route) -> Result<bool, LedgerError> {
        let misleading_header = old.cut.is_some_and(|cut| cut.misleading_header);
        let duration_ms = job.probed_ms.or(job.recording.duration_ms);
        let facts = Facts { misleading_header, duration_ms, ..Facts::of(&job.recording, &job.origin) };
        let Ok(plan) = plan(&facts, route, self.settings.recognizers.offers()) else {
            return Ok(false);
        };
        if plan == (Plan { reason: plan.reason.clone(), ..old.clone() }) {
            return Ok(false);
        }
        let (id, now) = (job.id, Timestamp::now());
        if self.ledger.step(move |connection| advance::replan(connection, id, now)).await?.is_none() {
            return Ok(false);
        }
        info!(job = %job.id, source = job.source, engine = %plan.engine, model = plan.model, "the job is planned anew: the config gives it another plan");
        Ok(true)
    }

    /// Whether this daemon still owns the job. If another daemon does, the job is deleted here; if the bucket does not answer, the piece is
    /// put off.
    async fn is_ours(&self, task: &PieceTask) -> Result<bool, LedgerError> {
        self.owns_or_postpones(task, self.claims.owns(&task.job).await).await
    }

    async fn owns_or_postpones(
        &self,
        task: &PieceTask,
        is_ours: Result<bool, Unconfirmed>,
    ) -> Result<bool, LedgerError> {
        match is_ours {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.claims.let_go(task.job.id).await?;
                Ok(false)
            }
            Err(unconfirmed) => {
                tracing::debug!(job = %task.job.id, %unconfirmed, "no request that costs is sent until the bucket tells which daemon owns the job");
                self.ledger.postpone_piece(task.id(), Timestamp::now() + UNCONFIRMED).await?;
                Ok(false)
            }
        }
    }

    /// The recognizer of a piece. `None`: the config no longer has it, and the piece has failed.
    async fn recognizer(&self, task: &PieceTask) -> Result<Option<Arc<dyn Recognizer>>, LedgerError> {
        let name = &task.piece.recognizer;
        let (engine, recognizers) = (Engine::new(name), &self.settings.recognizers);
        let found = match task.piece.last_attempt().filter(|_| !task.is_queued()) {
            Some(under_way) => recognizers.of_attempt(&engine, under_way.began),
            None => recognizers.get(&engine),
        };
        let found = found.map(Arc::clone);
        if found.is_none() {
            let message = format!(
                "the recognizer {name} is not configured any more; put it back, or send the recording again"
            );
            self.fail_for_good(task, fault("UnknownRecognizer", Blame::Hark, message)).await?;
        }
        Ok(found)
    }

    /// Counts what a recognizer billed, and its price.
    fn billed(&self, job: &Job, piece: &Piece, billed: Usage) {
        self.metrics.recognize_billed_seconds.with_label_values(&[&piece.recognizer]).inc_by(billed.seconds);
        let micro = self.settings.policy.prices.of(&piece.recognizer, &piece.model).cost_micro(billed);
        self.metrics.cost_usd.with_label_values(&[&job.source, &piece.model]).inc_by(micro as f64 / 1e6);
    }

    async fn fail_for_good(&self, task: &PieceTask, fault: Fault) -> Result<(), LedgerError> {
        self.advance_piece(task, PieceFact::Failed(Failure::for_good(fault)), 0).await
    }

    /// The job's route.
    ///
    /// # Errors
    /// When the config no longer has the route, which it had when the job was accepted.
    fn route(&self, job: &Job) -> Result<&Route, Fault> {
        self.settings.routes.get(&job.route).ok_or_else(|| {
            let name = &job.route;
            let message = format!(
                "the route {name:?} is not configured any more; put it back and send the recording again"
            );
            fault("UnknownRoute", Blame::Hark, message)
        })
    }
}

/// A recognizer's error as the piece machine takes it.
fn failure(error: Error, piece: &Piece) -> Failure {
    let next = error.next(Tries { failed: piece.failures, refused: piece.refusals() });
    let (fate, billed) = (error.fate, *error.billed);
    Failure { fault: error.fault, fate, next, billed, raw: error.raw.map(Vec::from) }
}
