//! What is done to a job between the ledger and the service, one file a duty.

mod ask;
mod downtime;
mod expiry;
mod failure;
pub mod flash;
pub mod follow;
mod in_flight;
pub mod lane;
mod opening;
pub mod pipe;
pub mod prepare;
pub mod reconcile;
mod round;
pub mod submit;
mod survey;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hark_sdk::event::{Blame, Engine, Event, Fault};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use self::in_flight::InFlight;
pub use self::opening::Opening;
use crate::audio::Workers;
use crate::config::Route;
use crate::job::audio::{self, Unopened};
use crate::job::ledger::{Ledger, LedgerError, files};
use crate::job::machine::{self, Fact, Policy};
use crate::job::{Consequence, Failure, Job, Plan, State};
use crate::recognize::route::{Facts, plan};
use crate::recognize::{Content, Permit, Recognizer, Recognizers};
use crate::share::{Claims, Standing, Unconfirmed};
use crate::telemetry::OnceAMinute;
use crate::telemetry::metrics::Metrics;

/// How soon it is asked again whose job it is, where nobody could tell.
const UNCONFIRMED: Duration = Duration::from_secs(2);

/// How soon a job is tried again for which the machine had no descriptor or process.
const SHORTAGE: Duration = Duration::from_secs(2);

/// How soon a recording is looked for again whose whole folder is away.
const AWAY: Duration = Duration::from_secs(10);

/// Takes a partial on its way out; never blocks.
pub type OnPartial = Arc<dyn Fn(Event) + Send + Sync>;

/// What every lane between the ledger and the service needs. Cheap to clone.
#[derive(Clone)]
pub struct Surroundings {
    pub ledger: Ledger,
    pub claims: Claims,
    pub recognizers: Arc<Recognizers>,
    pub workers: Workers,
    pub state_directory: Arc<PathBuf>,
    /// By name; the text of a `context_file` is in `context` already.
    pub routes: Arc<HashMap<String, Route>>,
    pub policy: Policy,
    /// Tasks in flight at the service.
    pub tasks: Arc<InFlight>,
    pub on_partial: OnPartial,
    pub opening: Arc<Opening>,
    /// What the machine has not is said once a minute.
    pub shortage: OnceAMinute,
    pub metrics: Metrics,
    /// Cancelled when no new request may leave.
    pub stop: CancellationToken,
}

impl Surroundings {
    async fn advance(&self, job: &Job, fact: Fact) -> Result<(), LedgerError> {
        let planned = matches!(fact, Fact::Prepared { .. });
        let Some(advanced) = self.ledger.advance(job.id, fact, self.policy).await? else { return Ok(()) };
        match advanced.job.state {
            // What came of a request: who takes the job over need not guess.
            State::Queued { .. } | State::Submitted { .. } if advanced.changed && !planned => {
                if advanced.job.ticket.is_none() {
                    return Ok(());
                }
                self.claims.tell(job.id).await
            }
            _ => Ok(()),
        }
    }

    /// The job as it stands now, if it owes the same as before: while its turn was waited for, its file may have been moved.
    async fn as_it_stands(&self, job: Job) -> Result<Option<Job>, LedgerError> {
        let duty = job.state.duty();
        Ok(self.ledger.find(job.id).await?.filter(|now| now.state.duty() == duty))
    }

    /// The route of a job that is to be sent as it was planned. `None`: it is not, by now; its state says what it owes instead.
    async fn planned_route(&self, job: &Job) -> Result<Option<Route>, LedgerError> {
        let State::Queued { plan } = &job.state else { return Ok(None) };
        let route = match self.route(job) {
            Ok(route) => route,
            Err(fault) => {
                self.give_up(job, fault).await?;
                return Ok(None);
            }
        };
        let is_replanned = self.is_replanned(job, plan, route).await?;
        Ok((!is_replanned).then(|| route.clone()))
    }

    /// Whether the config has another plan for the job by now (the model, the region, the route's engine); then it waits with that one.
    async fn is_replanned(&self, job: &Job, old: &Plan, route: &Route) -> Result<bool, LedgerError> {
        let Ok(plan) = plan(&Facts::of(&job.recording, &job.origin), route, self.recognizers.offers()) else {
            return Ok(false);
        };
        if (&plan.engine, &plan.model, &plan.delivery) == (&old.engine, &old.model, &old.delivery) {
            return Ok(false);
        }
        info!(job = %job.id, engine = %plan.engine, model = plan.model, "the config has another plan for it now");
        self.advance(job, Fact::Replanned { plan }).await?;
        Ok(true)
    }

    /// The recognizer of a plan. `None`: the config has it no more, and its job ends.
    async fn recognizer(&self, job: &Job, plan: &Plan) -> Result<Option<Arc<dyn Recognizer>>, LedgerError> {
        let found = self.recognizers.get(&plan.engine).map(Arc::clone);
        if found.is_none() {
            let message = format!(
                "the recognizer {} is not configured any more; put it back, or send the recording again",
                plan.engine
            );
            let fault =
                Fault { code: "UnknownRecognizer".into(), blame: Blame::Hark, message, attempts: None };
            self.give_up(job, fault).await?;
        }
        Ok(found)
    }

    fn billed(&self, engine: &Engine, seconds: u64) {
        self.metrics.recognize_billed_seconds.with_label_values(&[engine.as_str()]).inc_by(seconds);
    }

    /// Whether the job is still ours. If not, it is forgotten here; if nobody can tell, it is put off.
    async fn is_ours(&self, job: &Job) -> Result<bool, LedgerError> {
        self.go_on(job, self.claims.look(job).await).await
    }

    /// Writes the intent to send: first where other daemons see it, then on disk. Nothing may be sent where it returns `None`: then the
    /// job is another daemon's, or nobody can tell and it is put off.
    async fn intend(
        &self,
        job: &Job,
        object: Option<String>,
        permit: &Permit,
    ) -> Result<Option<Job>, LedgerError> {
        let fact = Fact::Sending { object };
        let next = machine::advance(job, fact.clone(), &self.policy, Timestamp::now()).job;
        let writing = self.claims.writing(job.id).await;
        let mut confirmed = Instant::now();
        if !self.go_on(job, self.claims.write(&next).await).await? {
            return Ok(None);
        }
        let advanced = self.ledger.advance(job.id, fact, self.policy).await?;
        drop(writing);
        let Some(job) = advanced.filter(|advanced| advanced.changed).map(|advanced| advanced.job) else {
            return Ok(None);
        };
        let leaves = async {
            permit.depart().await;
            // We may have been stopped for minutes since, or the disk was: others have drawn their conclusions.
            while confirmed.elapsed() > self.claims.fresh_for() {
                let asked = Instant::now();
                match self.claims.look(&job).await? {
                    Standing::Ours => confirmed = asked,
                    Standing::Lost => return Ok(Standing::Lost),
                }
            }
            Ok(Standing::Ours)
        };
        let standing = tokio::select! {
            standing = leaves => standing,
            () = self.stop.cancelled() => {
                self.advance(&job, Fact::Unsent).await?;
                return Ok(None);
            }
        };
        if standing.is_err() {
            // It goes back to the end of the queue: the permit is another one's, which nobody's bucket may keep waiting.
            self.advance(&job, Fact::Unsent).await?;
        }
        Ok(self.go_on(&job, standing).await?.then_some(job))
    }

    async fn go_on(&self, job: &Job, answer: Result<Standing, Unconfirmed>) -> Result<bool, LedgerError> {
        match answer {
            Ok(Standing::Ours) => Ok(true),
            Ok(Standing::Lost) => {
                self.claims.let_go(job.id).await?;
                Ok(false)
            }
            Err(unconfirmed) => {
                debug!(job = %job.id, %unconfirmed, "nothing that costs is sent until it is sure whose job this is");
                self.ledger.postpone(job.id, Timestamp::now() + UNCONFIRMED).await?;
                Ok(false)
            }
        }
    }

    /// The bytes of a job's recording.
    async fn content(&self, job: &Job) -> Result<Content, Unopened> {
        let (opened, folder) = (job.clone(), Arc::clone(&self.state_directory));
        let content = self.opening.of(&job.source, move || Content::of(&opened, &folder)).await;
        content.unwrap_or_else(|hangs| Err(Unopened::NotNow(hangs)))
    }

    /// A recording that cannot be opened ends its job; a machine that cannot open it is waited for, with the job where it is.
    async fn not_opened(&self, job: &Job, unopened: Unopened) -> Result<(), LedgerError> {
        match unopened {
            Unopened::Fault(fault) => self.give_up(job, fault).await,
            Unopened::Missing(fault) => self.missing(job, fault).await,
            Unopened::NotNow(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.wait_for_folder(job, &error.to_string()).await
            }
            Unopened::NotNow(error) => {
                self.wait_for_machine(error.to_string()).await;
                Ok(())
            }
        }
    }

    /// A recording that is not where it was is looked for once more; with its whole folder away it waits until that is back.
    async fn missing(&self, job: &Job, fault: Fault) -> Result<(), LedgerError> {
        let source = job.source.clone();
        let watched = self.ledger.read(move |connection| files::watched(connection, &source)).await?;
        let looked_at = job.clone();
        let away = self.opening.of(&job.source, move || audio::is_away(&looked_at, &watched)).await;
        if let Ok(false) = away {
            return self.advance(job, Fact::Missing { fault }).await;
        }
        self.wait_for_folder(job, "it is not there").await
    }

    /// Puts off a job whose folder is not there, or does not answer.
    async fn wait_for_folder(&self, job: &Job, reason: &str) -> Result<(), LedgerError> {
        if self.shortage.is_time() {
            warn!(
                source = job.source,
                reason, "the folder of recordings is away and their jobs wait; mount it, or put it back"
            );
        }
        self.ledger.postpone(job.id, Timestamp::now() + AWAY).await
    }

    /// Keeps this place in the lane, so that no more is tried than the lane is wide.
    async fn wait_for_machine(&self, shortage: String) {
        if self.shortage.is_time() {
            warn!(
                shortage,
                "the machine has not what the work needs and jobs wait; see the limit of open files (LimitNOFILE=), memory, processes"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(SHORTAGE) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn give_up(&self, job: &Job, fault: Fault) -> Result<(), LedgerError> {
        let failure = Failure { fault, consequence: Consequence::GiveUp, unsure: false };
        self.advance(job, Fact::Failed { failure, billed_seconds: 0, revision: 0 }).await
    }

    /// The job's route; a config without it (it was there when the job was accepted) is told as such.
    fn route(&self, job: &Job) -> Result<&Route, Fault> {
        self.routes.get(&job.route).ok_or_else(|| Fault {
            code: "UnknownRoute".into(),
            blame: Blame::Hark,
            message: format!(
                "the route {:?} is not configured any more; put it back and send the recording again",
                job.route
            ),
            attempts: None,
        })
    }
}

/// What a request says besides the audio: the message's own words over the route's.
fn language<'a>(job: &'a Job, route: &'a Route) -> Option<&'a str> {
    job.language.as_deref().or(Some(route.language.as_str())).filter(|text| !text.is_empty())
}

fn context<'a>(job: &'a Job, route: &'a Route) -> Option<&'a str> {
    job.context.as_deref().or(Some(route.context.as_str())).filter(|text| !text.is_empty())
}
