//! One source of the daemon, and what it is made of.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::broker;
use crate::config::{Config, Nats, Source};
use crate::job::ledger::Ledger;
use crate::share::{Claims, Fence};
use crate::source::directory::Directory;
use crate::source::nats::{self, MessageRules, Slots, Subject};
use crate::source::switch::Switch;
use crate::telemetry::metrics::Metrics;
use crate::work::Settings;

/// What sources are made of, besides the config.
pub(super) struct Handles {
    pub(super) ledger: Ledger,
    pub(super) claims: Claims,
    pub(super) connection: broker::JetStream,
    pub(super) nats: Nats,
    pub(super) state_directory: PathBuf,
    pub(super) terms: Arc<RwLock<Arc<MessageRules>>>,
    pub(super) metrics: Metrics,
}

/// A source, and how it ends.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) config: Source,
    pub(super) kind: Kind,
    /// Cancelled when the config has no such source any more.
    pub(super) retire: CancellationToken,
    /// Cancelled when it takes nothing in any more.
    pub(super) idle: CancellationToken,
    /// Cancelled when its task has ended.
    pub(super) ended: CancellationToken,
}

#[derive(Clone)]
pub(super) enum Kind {
    Directory(Arc<Directory>),
    Subject(Arc<Subject>),
}

impl Entry {
    pub(super) fn switch(&self) -> &Switch {
        match &self.kind {
            Kind::Directory(directory) => directory.switch(),
            Kind::Subject(subject) => subject.switch(),
        }
    }

    pub(super) fn directory(&self) -> Option<&Arc<Directory>> {
        match &self.kind {
            Kind::Directory(directory) => Some(directory),
            Kind::Subject(_) => None,
        }
    }

    /// Whether this entry of an earlier config settles the same files as the other one: same name, same folder.
    pub(super) fn replaces(&self, other: &Entry) -> bool {
        match (self.directory(), other.directory()) {
            (Some(one), Some(other_one)) => {
                self.config.name() == other.config.name() && one.root() == other_one.root()
            }
            _ => false,
        }
    }
}

impl Handles {
    pub(super) fn entry(
        &self,
        source: &Source,
        config: &Config,
        settings: &Settings,
    ) -> Result<Entry, String> {
        // A counter that appears with its first failure would show no increase from zero to one.
        self.metrics.source_accepted.with_label_values(&[source.name()]).inc_by(0);
        for outcome in ["completed", "failed"] {
            self.metrics.job_ended.with_label_values(&[source.name(), outcome]).inc_by(0);
        }
        let kind = match source {
            Source::Directory(source) => {
                let usd_per_hour = usd_per_hour(&source.route, config, settings);
                let directory =
                    Directory::new(source.clone(), self.ledger.clone(), self.metrics.clone(), usd_per_hour)
                        .map_err(|error| format!("source {}: {error}", source.name))?;
                Kind::Directory(Arc::new(directory))
            }
            Source::Nats(source) => {
                let handles = nats::Handles {
                    nats: self.nats.clone(),
                    jetstream: self.connection.clone(),
                    ledger: self.ledger.clone(),
                    claims: self.claims.clone(),
                    fence: Fence::new(self.connection.clone(), &self.nats, self.claims.clone()),
                    state_directory: self.state_directory.clone(),
                    terms: Arc::clone(&self.terms),
                    metrics: self.metrics.clone(),
                };
                Kind::Subject(Arc::new(Subject::new(source.clone(), handles)))
            }
        };
        let [retire, idle, ended] = std::array::from_fn(|_| CancellationToken::new());
        Ok(Entry { config: source.clone(), kind, retire, idle, ended })
    }
}

/// The price of an hour of audio on a route.
fn usd_per_hour(route: &str, config: &Config, settings: &Settings) -> f64 {
    let engine = config.route(route).and_then(|route| route.engine.name()).unwrap_or_default();
    let price = settings.policy.prices.of(engine, config.dashscope.flash_model());
    price.cost_micro(price.estimate(3_600)) as f64 / 1e6
}

/// What all sources share of the config.
pub(super) fn terms(config: &Config, settings: &Settings) -> MessageRules {
    MessageRules {
        allow: settings.allow_urls.clone(),
        unheeded: config.unheeded(),
        // Twice the number of recordings under way, so that no free request waits for a message; a larger number would keep messages from
        // other daemons.
        slots: Slots {
            waiting: 2 * config.dashscope.concurrency,
            tasks: config.dashscope.filetrans_concurrency,
        },
        policy: settings.policy.clone(),
    }
}
