//! The plan and the price of one recording.

use std::fs::File;
use std::path::Path;

use hark_sdk::event::Engine;
use serde::Serialize;

use crate::audio::{ProbeError, Section, Workers};
use crate::cli::Exit;
use crate::config::{AllowList, Config, Route};
use crate::job::{Plan, Prices};
use crate::os;
use crate::recognize::route::{Facts, plan, rejection};
use crate::recognize::{Profile, profiles};
use crate::source::download::Unfetched;
use crate::source::url::fetch::fetch;
use crate::source::url::look::look;
use crate::telemetry::metrics::Metrics;
use crate::work::cut::{analysis_plan, channels_to_send};
use crate::work::fetch::{LARGEST, needs_bytes};
use crate::work::look::MOST;
use crate::work::probed;

/// Recordings that are decoded at a time.
pub(super) const AT_A_TIME: usize = 2;

/// What would happen to one recording.
#[derive(Debug, Default, Serialize)]
pub(super) struct Explained {
    /// The file, or the address without its query.
    pub path: String,
    pub engine: Option<Engine>,
    pub model: Option<String>,
    /// Requests; `None`: unknown.
    pub pieces: Option<usize>,
    /// Channels that are sent.
    pub channels: Option<usize>,
    /// Seconds that will be billed; `None`: the length is not known before the service fetches it.
    pub seconds: Option<u64>,
    /// Their estimated price.
    pub cost_usd: Option<f64>,
    pub reason: Option<String>,
    pub rejected: Vec<Rejected>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An engine that does not get the recording.
#[derive(Debug, Serialize)]
pub(super) struct Rejected {
    pub engine: Engine,
    pub why: String,
}

pub(super) struct Estimator {
    workers: Workers,
    profiles: Vec<Profile>,
    prices: Prices,
    allow_urls: AllowList,
}

impl Estimator {
    pub(super) fn new(config: &Config) -> Result<Estimator, Exit> {
        Ok(Estimator {
            workers: Workers::start(os::spawn::this_executable(), AT_A_TIME, Metrics::new()),
            profiles: profiles(config),
            prices: Prices::of_config(config),
            allow_urls: AllowList::parse(&config.security.allow_urls).map_err(Exit::Config)?,
        })
    }

    /// Probes a file, and analyzes its audio if the daemon would do so for this plan.
    pub(super) async fn file(&self, path: &Path, route: Option<&Route>) -> Explained {
        let shown = path.display().to_string();
        let explained = async {
            let file = File::open(path).map_err(|error| error.to_string())?;
            let bytes = file.metadata().map_err(|error| error.to_string())?.len();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let probed = self.workers.probe(&file, extension).await;
            let probe = probed.map_err(|error: ProbeError| error.to_string())?;
            let facts = probed::facts(Facts { bytes: Some(bytes), ..Facts::default() }, probe);
            let (plan, mut explained) = self.planned(&facts, route)?;
            let requests = match plan.cut.is_some() || plan.split.is_some() {
                true => {
                    Some(self.listened(&file, extension, &plan).await.map_err(|error| error.to_string())?)
                }
                false => facts.duration_ms.map(Requests::one),
            };
            if let Some(requests) = requests {
                self.price(&plan, &requests, &mut explained);
            }
            Ok(explained)
        };
        named(shown, explained.await)
    }

    /// Reads the beginning of the audio at an address, as the daemon does before it sends the address. Fetches all of it if the daemon would.
    pub(super) async fn url(&self, url: &str, route: Option<&Route>) -> Explained {
        let shown = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        if route.is_some_and(|route| needs_bytes(route, self.profiles.iter())) {
            return Explained { path: shown, ..self.fetched(url, route).await };
        }
        let explained = async {
            let facts = self.facts_of_url(url).await?;
            let planned = self.planned(&facts, route);
            if planned.is_err() && facts.format.is_some() {
                return Ok(self.fetched(url, route).await);
            }
            let (plan, mut explained) = planned?;
            let length = facts.duration_ms.filter(|_| plan.cut.is_none() && plan.split.is_none());
            if let Some(length) = length {
                self.price(&plan, &Requests::one(length), &mut explained);
            }
            Ok(explained)
        };
        named(shown, explained.await)
    }

    async fn fetched(&self, url: &str, route: Option<&Route>) -> Explained {
        let explained = async {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let into = folder.path().join("audio");
            fetch(url, &self.allow_urls, &into, LARGEST).await.map_err(|error| error.to_string())?;
            Ok(self.file(&into, route).await)
        };
        explained.await.unwrap_or_else(|error| Explained { error: Some(error), ..Explained::default() })
    }

    async fn facts_of_url(&self, url: &str) -> Result<Facts, String> {
        let unseen = Facts { is_url: true, ..Facts::default() };
        let file = tempfile::tempfile().map_err(|error| error.to_string())?;
        let looked = match look(url, &self.allow_urls, file, MOST).await {
            Ok(looked) => looked,
            Err(refused @ Unfetched::Forbidden(_)) => return Err(refused.to_string()),
            Err(_) => return Ok(unseen),
        };
        let Ok(probe) = self.workers.probe(&looked.file, None).await else { return Ok(unseen) };
        let known = Facts { bytes: looked.bytes, ..unseen };
        Ok(match looked.is_whole {
            true => probed::facts(known, probe),
            false => Facts { format: Some(probe.format), ..known },
        })
    }

    fn planned(&self, facts: &Facts, route: Option<&Route>) -> Result<(Plan, Explained), String> {
        let route = route.ok_or("the route is not in the config")?;
        let plan = plan(facts, route, self.profiles.iter().collect()).map_err(|fault| fault.message)?;
        let others = self.profiles.iter().filter(|offer| offer.engine != plan.engine);
        let rejected = others
            .map(|offer| Rejected { engine: offer.engine.clone(), why: rejection(facts, route, offer) })
            .collect();
        let explained = Explained {
            engine: Some(plan.engine.clone()),
            model: Some(plan.model.clone()),
            reason: Some(plan.reason.clone()),
            rejected,
            ..Explained::default()
        };
        Ok((plan, explained))
    }

    /// What would be sent of a recording that is decoded here first.
    async fn listened(
        &self,
        file: &File,
        extension: Option<&str>,
        plan: &Plan,
    ) -> Result<Requests, ProbeError> {
        let analysis = self.workers.analyze(file, extension, analysis_plan(plan), |_| {}).await?;
        let sent = channels_to_send(&analysis).len();
        let speech_ms = Some(analysis.speech_ms);
        if plan.cut.is_some() {
            let pieces = analysis.sections.iter().map(Section::length).collect();
            return Ok(Requests { pieces, channels: if plan.split.is_some() { sent } else { 1 }, speech_ms });
        }
        let length = analysis.probe.duration_ms.unwrap_or(0);
        Ok(Requests {
            pieces: if sent == 0 { Vec::new() } else { vec![length * sent as u64] },
            channels: sent,
            speech_ms,
        })
    }

    /// The service bills the whole seconds of each request; a server of one's own, the begun ones.
    fn price(&self, plan: &Plan, requests: &Requests, explained: &mut Explained) {
        let price = self.prices.of(plan.engine.as_str(), &plan.model);
        let is_own = self.profiles.iter().any(|offer| offer.engine == plan.engine && offer.only_by_name);
        let billed = |length: &u64| if is_own { length.div_ceil(1_000) } else { length / 1_000 };
        let seconds = requests.pieces.iter().map(billed);
        let all: u64 = requests.pieces.iter().sum();
        let usage = |length: &u64| match requests.speech_ms {
            // Spread evenly over what is sent.
            Some(speech) => price.estimate_of_speech(billed(length), speech * length / all.max(1)),
            None => price.estimate(billed(length)),
        };
        let micro: u64 = requests.pieces.iter().map(|length| price.cost_micro(usage(length))).sum();
        explained.pieces = Some(requests.pieces.len());
        explained.channels = Some(requests.channels);
        explained.seconds = Some(seconds.sum());
        explained.cost_usd = Some(micro as f64 / 1e6);
    }
}

struct Requests {
    /// Milliseconds that each request is billed for.
    pieces: Vec<u64>,
    channels: usize,
    /// The speech that was found; `None`: the recording was not listened to.
    speech_ms: Option<u64>,
}

impl Requests {
    /// One request, of a recording as it is.
    fn one(length: u64) -> Requests {
        Requests { pieces: vec![length], channels: 1, speech_ms: None }
    }
}

fn named(path: String, explained: Result<Explained, String>) -> Explained {
    match explained {
        Ok(explained) => Explained { path, ..explained },
        Err(error) => Explained { path, error: Some(error), ..Explained::default() },
    }
}
