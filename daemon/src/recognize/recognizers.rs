//! The recognizers of a config, and how those of the next config follow them in a running daemon.

use std::sync::{Arc, OnceLock};

use hark_sdk::event::Engine;
use jiff::{SignedDuration, Timestamp};

use super::dashscope::Service;
use super::error::Error;
use super::http::Timeouts;
use super::{Profile, Recognizer, openai};
use crate::config::{self, Config, Secret};
use crate::telemetry::metrics::Metrics;

/// Longer than the service knows a task: 24 hours after its end, which comes within three.
const TASKS_ARE_KNOWN: SignedDuration = SignedDuration::from_hours(48);

/// Every recognizer of the config, and those of earlier configs that work under way may still need.
#[derive(Debug, Default)]
pub struct Recognizers {
    /// In the order in which `auto` prefers them; at the end those that the config does not have any more, for pieces whose plan names them.
    present: Vec<Arc<dyn Recognizer>>,
    service: Option<Service>,
    own: Vec<config::Recognizer>,
    former: Vec<Former>,
}

/// The recognizers of an earlier address or bucket, which a reload has replaced. Only they can reach the tasks and objects that were made there.
#[derive(Debug, Clone)]
struct Former {
    recognizers: [Arc<dyn Recognizer>; 2],
    /// When the replacement came into force; empty until then.
    until: Arc<OnceLock<Timestamp>>,
}

impl Recognizers {
    /// Builds all of them; connects to nothing yet. `key`: of DashScope; `None`: the config needs none. One that the config leaves as it was in
    /// `before` is the same one, with what it has learned; one that the config does not have any more stays for the pieces that it has.
    /// Nothing changes before [`Self::take_effect`].
    ///
    /// # Errors
    /// A sentence: a key cannot be read, the bucket cannot be used, or there are no root certificates.
    pub fn of_config(
        config: &Config,
        key: Option<Secret>,
        before: &Recognizers,
        metrics: &Metrics,
        timeouts: Timeouts,
    ) -> Result<Recognizers, String> {
        let service = key
            .map(|key| Service::of_config(config, key, before.service.as_ref(), metrics, timeouts))
            .transpose()?;
        let mut present: Vec<Arc<dyn Recognizer>> =
            service.iter().flat_map(|service| service.recognizers.clone()).collect();
        for own in &config.recognizer {
            let same = before.own.contains(own).then(|| before.get(&Engine::new(&own.name))).flatten();
            present.push(match same {
                Some(same) => Arc::clone(same),
                None => Arc::new(openai::build(own, metrics)?),
            });
        }
        for other in &before.present {
            let name = &other.profile().engine;
            if !present.iter().any(|present| present.profile().engine == *name) {
                present.push(Arc::clone(other));
            }
        }
        let mut former = before.former.clone();
        let now = Timestamp::now();
        former.retain(|former| {
            former.until.get().is_none_or(|until| now.duration_since(*until) < TASKS_ARE_KNOWN)
        });
        if let (Some(before), Some(service)) = (&before.service, &service)
            && !service.has_places_of(before)
        {
            former.push(Former { recognizers: before.recognizers.clone(), until: Arc::default() });
        }
        Ok(Recognizers { present, service, own: config.recognizer.clone(), former })
    }

    /// Puts rates and key in force. To be called when no task takes the recognizers before these any more.
    pub fn take_effect(&self) {
        for former in &self.former {
            former.until.get_or_init(Timestamp::now);
        }
        if let Some(service) = &self.service {
            service.take_effect();
        }
    }

    /// Has the recognizers whose queue is held asked at once; returns their names.
    pub fn probe_held(&self) -> Vec<Engine> {
        let held = self.present.iter().filter(|recognizer| recognizer.pacer().held().is_some());
        held.inspect(|recognizer| recognizer.pacer().probe_now())
            .map(|recognizer| recognizer.profile().engine.clone())
            .collect()
    }

    /// The recognizer that a plan names; `None`: no config since the start had one of that name.
    pub fn get(&self, engine: &Engine) -> Option<&Arc<dyn Recognizer>> {
        self.present.iter().find(|recognizer| recognizer.profile().engine == *engine)
    }

    /// The recognizer for an attempt that began at this time. An attempt that was sent to an earlier address can be resolved there only.
    pub fn of_attempt(&self, engine: &Engine, began: Timestamp) -> Option<&Arc<dyn Recognizer>> {
        let former = self.former.iter().find(|former| former.until.get().is_none_or(|until| began < *until));
        let of_former = former.and_then(|former| {
            former.recognizers.iter().find(|recognizer| recognizer.profile().engine == *engine)
        });
        of_former.or_else(|| self.get(engine))
    }

    /// Deletes an uploaded object. `None`: no config since the start has named its bucket.
    pub async fn discard(&self, object: &str) -> Option<Result<(), Error>> {
        let former = self.former.iter().flat_map(|former| &former.recognizers);
        let discarding =
            self.present.iter().chain(former).find_map(|recognizer| recognizer.discard(object))?;
        Some(discarding.await)
    }

    /// The names of the recognizers whose requests become tasks.
    pub fn with_tasks(&self) -> Vec<String> {
        let with_tasks = self.profiles().filter(|profile| profile.limits.tasks.is_some());
        with_tasks.map(|profile| profile.engine.to_string()).collect()
    }

    /// What all recognizers accept, for [`super::route::plan`].
    pub fn offers(&self) -> Vec<&Profile> {
        self.profiles().collect()
    }

    /// What identifies each recognizer, and what it accepts.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.present.iter().map(|recognizer| recognizer.profile())
    }
}
