//! What an operator may do to the running daemon, in one place: the NATS service and HTTP call the same functions.

mod fit;
pub mod forget;
pub mod jobs;
pub mod plugins;
mod retry;
pub mod sources;
pub mod webhooks;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;

use crate::broker::JetStream;
use crate::config::Nats;
use crate::job::ledger::view::Moment;
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::piece_machine::Policy;
use crate::pipeline::Pipeline;
use crate::publish::webhooks::Webhooks;
use crate::recognize::Recognizers;
use crate::share::Claims;
use crate::telemetry::metrics::Metrics;

/// The parts of the daemon that requests read and steer. Clones share them.
#[derive(Clone)]
pub struct Steer {
    pub ledger: Ledger,
    pub sources: sources::Board,
    pub claims: Claims,
    pub nats: Arc<Nats>,
    pub jetstream: JetStream,
    pub state_directory: Arc<PathBuf>,
    pub metrics: Metrics,
    /// What the config makes of recognition, which a reload replaces.
    pub present: watch::Receiver<InForce>,
    pub pipeline: Arc<Pipeline>,
    pub webhooks: Webhooks,
}

/// The recognizers and the policy that result from the config in force.
#[derive(Debug, Clone)]
pub struct InForce {
    pub recognizers: Arc<Recognizers>,
    pub policy: Policy,
}

impl Steer {
    /// The present moment, for lists of jobs.
    pub(super) fn moment(&self) -> Moment {
        let present = self.present.borrow();
        let names = present.recognizers.profiles().map(|profile| profile.engine.as_str());
        let is_held = |name: &&str| self.metrics.recognize_held.with_label_values(&[*name]).get() != 0;
        Moment { now: Timestamp::now(), held: names.filter(is_held).map(str::to_owned).collect() }
    }
}

/// Why a request was not carried out. The text is for a person: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be parsed, or a value in it is invalid.
    #[error("{0}")]
    Bad(String),
    /// This daemon has nothing of that name or id.
    #[error("{0}")]
    Unknown(String),
    /// The request does not fit the current state of the job, source or webhook.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be done now; a retry may succeed.
    #[error("{0}")]
    NotNow(String),
}

impl Refusal {
    /// The status code of HTTP, which the NATS service uses too.
    pub fn code(&self) -> u16 {
        match self {
            Refusal::Bad(_) => 400,
            Refusal::Unknown(_) => 404,
            Refusal::Conflict(_) => 409,
            Refusal::NotNow(_) => 503,
        }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Refusal::NotNow(error.to_string())
    }
}

/// A request about something that has a name: a source, a plugin, a webhook.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub name: String,
}
