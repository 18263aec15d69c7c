//! What is done to a job between the ledger and the service, one file a duty.

pub mod flash;
pub mod follow;
pub mod prepare;
pub mod submit;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use hark_sdk::event::{Blame, Event, Fault};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Recognizer;
use super::route::Offer;
use crate::audio::Workers;
use crate::config::Route;
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::machine::{Fact, Policy};
use crate::job::{Consequence, Failure, Job};

/// Takes a partial on its way out; never blocks.
pub type OnPartial = Arc<dyn Fn(Event) + Send + Sync>;

/// What every lane between the ledger and the service needs. Cheap to clone.
#[derive(Clone)]
pub struct Surroundings {
    pub ledger: Ledger,
    pub recognizer: Recognizer,
    pub workers: Workers,
    pub state_directory: Arc<PathBuf>,
    /// By name; the text of a `context_file` is in `context` already.
    pub routes: Arc<HashMap<String, Route>>,
    pub offer: Arc<Offer>,
    pub policy: Policy,
    /// Permits for tasks in flight at the service.
    pub tasks: Arc<Semaphore>,
    pub on_partial: OnPartial,
    /// Cancelled when no new request may leave.
    pub stop: CancellationToken,
}

impl Surroundings {
    async fn advance(&self, job: &Job, fact: Fact) -> Result<(), LedgerError> {
        self.ledger.advance(job.id, fact, self.policy).await.map(drop)
    }

    async fn give_up(&self, job: &Job, fault: Fault) -> Result<(), LedgerError> {
        let failure = Failure { fault, consequence: Consequence::GiveUp };
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
