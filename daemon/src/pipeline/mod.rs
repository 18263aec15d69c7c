//! Plugins: every event of a job passes through the plugins that are configured for its source, in the order of the config, before it is
//! published.
//!
//! Each plugin runs in a process of its own (`child`, `library`), supervised by a task (`host`) with a bounded queue. A plugin's failure
//! never fails a job: the daemon publishes it as a `plugin.<name>` event and goes on with the transcript, unless the config has `on_failure
//! = "hold"`. The time that a plugin costs is bounded: each event has `timeout`, and three deaths in ten minutes quarantine the plugin.

pub mod child;
mod folder;
mod host;
mod inspect;
mod library;
mod log;
mod machine;
mod process;
mod status;
mod strikes;
mod surroundings;
mod trial;
mod verify;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use hark_sdk::Wants;
use hark_sdk::event::{Body, Event, Kind, PluginEvent};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{self, OnFailure};
use crate::os::private;
use crate::telemetry::metrics::Metrics;

use host::{Done, Failure, QUEUE, Reply, Supervisor, Work};
use process::Launch;

pub use inspect::inspect;
pub use process::LoadError;
pub use status::{Enabled, PluginState, PluginStatus};
pub use surroundings::Surroundings;
pub use trial::{Trial, trial};
pub use wire::Description;

/// Capacity of the queue of observations (what plugins emit about partials) that the daemon has not taken yet; further observations are
/// dropped.
const OBSERVATIONS: usize = 256;

/// The plugins of a daemon.
#[derive(Debug)]
pub struct Pipeline {
    plugins: Vec<Plugin>,
    observations: mpsc::Sender<Observation>,
    taken: Mutex<Option<mpsc::Receiver<Observation>>>,
    loading: Mutex<Vec<oneshot::Receiver<()>>>,
    stopping: CancellationToken,
}

/// An event after all plugins.
#[derive(Debug)]
pub struct Processed {
    /// The event, its text perhaps replaced by transforms.
    pub event: Event,
    /// Events to publish after it, in order: alerts, annotations, events of plugins, and reports of failed plugins.
    pub emitted: Vec<Body>,
    /// Set when a plugin with `on_failure = "hold"` failed on the event: then nothing of it may be published, `emitted` is empty and
    /// `event` is the original. The caller retries later.
    pub held: Option<Held>,
}

/// Why a job must wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The plugin's configured name.
    pub plugin: String,
    /// For the operator; it may quote the transcript.
    pub reason: String,
    /// The plugin gets no events until its library is replaced or the operator enables it.
    pub quarantined: bool,
}

/// An event that a plugin emitted about a partial.
#[derive(Debug)]
pub struct Observation {
    pub job: Uuid,
    pub source: String,
    pub body: Body,
}

/// One plugin, as seen by the code that sends it events.
#[derive(Debug)]
struct Plugin {
    name: String,
    sources: Vec<String>,
    hold: bool,
    queue: mpsc::Sender<Work>,
    enable: mpsc::Sender<Done>,
    /// The permit for the one partial that the plugin may have at a time.
    observing: Arc<Semaphore>,
    status: Arc<Mutex<PluginStatus>>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Pipeline {
    /// Starts one supervised process for each plugin; [`Pipeline::loaded`] waits for them. A plugin that cannot be loaded does not stop the
    /// daemon: the daemon logs an error, and retries when the library changes and with growing pauses.
    pub async fn start_in(
        surroundings: &Surroundings,
        plugins: &[config::Plugin],
        folders: &config::Plugins,
        metrics: Metrics,
    ) -> Pipeline {
        let mut started = Vec::new();
        let mut loaded = Vec::new();
        let stopping = CancellationToken::new();
        for plugin in plugins {
            let own = surroundings.own_folder(&plugin.name);
            if let Err(error) = private::create_folder(&own) {
                tracing::warn!(plugin = %plugin.name, folder = %own.display(), %error, "plugin's own folder cannot be created");
            }
            let (ready, is_ready) = oneshot::channel();
            let launch = surroundings.launch(plugin, folders);
            started.push(Plugin::start(launch, plugin, metrics.clone(), ready, stopping.clone()));
            loaded.push(is_ready);
        }
        let (observations, taken) = mpsc::channel(OBSERVATIONS);
        Pipeline {
            plugins: started,
            observations,
            taken: Mutex::new(Some(taken)),
            loading: Mutex::new(loaded),
            stopping,
        }
    }

    /// Waits until each plugin is loaded or has failed to load: some ten seconds for a plugin that hangs. Call it once, before the first
    /// event: an earlier event may find that its plugins are not loaded yet.
    pub async fn loaded(&self) {
        let loading = std::mem::take(&mut *self.loading.lock().unwrap_or_else(PoisonError::into_inner));
        for ready in loading {
            // A supervisor that has ended already has logged the reason.
            let _ = ready.await;
        }
    }

    /// Runs an event of a job (mostly transcript.final) through every plugin that is configured for its source and wants its kind, in the
    /// order of the config. Waits while a plugin's queue is full; a plugin that fails delays the event by its `timeout` at most.
    ///
    /// Events of one job stay in order as long as the caller awaits one call before the next. Cancelling the future loses only the answer.
    pub async fn process(&self, event: Event) -> Processed {
        let kind = event.kind();
        let original = Arc::new(event);
        let mut event = original.clone();
        let mut frame = None;
        let mut emitted = Vec::new();
        for plugin in self.plugins.iter().filter(|plugin| plugin.is_for(&original.source, &kind)) {
            match plugin.ask(&event, &mut frame).await {
                Ok(Reply { said, replaced, refused }) => {
                    emitted.extend(said);
                    emitted.extend(refused.map(|message| plugin.report(message, false)));
                    if let Some(replaced) = replaced {
                        event = Arc::new(replaced);
                        frame = None;
                    }
                }
                Err(Failure { message, quarantined }) if plugin.hold => {
                    let held = Held { plugin: plugin.name.clone(), reason: message, quarantined };
                    return Processed { event: unwrap(original), emitted: Vec::new(), held: Some(held) };
                }
                Err(Failure { message, quarantined }) => emitted.push(plugin.report(message, quarantined)),
            }
        }
        drop(original);
        Processed { event: unwrap(event), emitted, held: None }
    }

    /// Sends a partial to the plugins that want partials. Never waits: a plugin that is behind does not get the partial. The plugins'
    /// answers go to [`Pipeline::observations`].
    pub fn observe(&self, event: Event) {
        let kind = event.kind();
        let event = Arc::new(event);
        let mut frame = None;
        for plugin in
            self.plugins.iter().filter(|plugin| plugin.wants(&kind) && plugin.is_for(&event.source, &kind))
        {
            // One partial at a time per plugin: a final would wait for every partial queued before it, each for up to the plugin's
            // `timeout`.
            let Ok(turn) = Arc::clone(&plugin.observing).try_acquire_owned() else { continue };
            let Ok(work) = work(&event, &mut frame) else { return };
            let (work, answer) = work;
            if plugin.queue.try_send(work).is_ok() {
                let (event, observations) = (event.clone(), self.observations.clone());
                tokio::spawn(async move {
                    let answer = answer.await;
                    drop(turn);
                    let Ok(Ok(heard)) = answer else { return };
                    for body in heard.said {
                        let observation = Observation { job: event.job, source: event.source.clone(), body };
                        // Dropped if the queue is full or has no receiver: observations are lossy, as partials are.
                        let _ = observations.try_send(observation);
                    }
                });
            }
        }
    }

    /// Receiver of what plugins emit about partials (tentative alerts). Can be taken once. Observations are dropped when the queue is full.
    pub fn observations(&self) -> Option<mpsc::Receiver<Observation>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a plugin is configured for a source.
    pub fn has_plugins_for(&self, source: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.is_of(source))
    }

    /// Whether partials of a source must not leave the daemon, because a transform has to process texts first (or because a plugin with
    /// `on_failure = "hold"` has not been loaded yet, so that it may be a transform).
    pub fn withholds_partials(&self, source: &str) -> bool {
        self.plugins.iter().filter(|plugin| plugin.is_of(source)).any(|plugin| {
            match &plugin.status.lock().unwrap_or_else(PoisonError::into_inner).description {
                Some(description) => description.transform,
                None => plugin.hold,
            }
        })
    }

    /// Status of each plugin, in the order of the config.
    pub fn statuses(&self) -> Vec<PluginStatus> {
        let status = |plugin: &Plugin| plugin.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.plugins.iter().map(status).collect()
    }

    /// Ends a quarantine, or retries at once to load a library that could not be loaded. Waits until the plugin is loaded or has failed to
    /// load, some ten seconds for a library that hangs. `None`: there is no plugin of that name.
    pub async fn enable(&self, name: &str) -> Option<Enabled> {
        let plugin = self.plugins.iter().find(|plugin| plugin.name == name)?;
        let status = || plugin.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let was = status().state;
        let (done, is_done) = oneshot::channel();
        // A supervisor that has ended has logged the reason; the status is its last one.
        if plugin.enable.send(done).await.is_ok() {
            let _ = is_done.await;
        }
        let PluginStatus { state, reason, .. } = status();
        Some(Enabled { was, state, reason })
    }

    /// Waits until every plugin has answered its queued events and has ended in good order, for at most two of its `timeout`s. Later events
    /// find no plugin.
    pub async fn stop(&self) {
        self.stopping.cancel();
        for Plugin { name, supervisor, .. } in &self.plugins {
            let supervisor = supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(supervisor) = supervisor
                && let Err(error) = supervisor.await
            {
                tracing::error!(plugin = %name, %error, "supervisor task of the plugin failed");
            }
        }
    }
}

impl Plugin {
    fn start(
        launch: Launch,
        plugin: &config::Plugin,
        metrics: Metrics,
        ready: oneshot::Sender<()>,
        stopping: CancellationToken,
    ) -> Plugin {
        let (queue, received) = mpsc::channel(QUEUE);
        let (enable, enabled) = mpsc::channel(1);
        let status = Arc::new(Mutex::new(PluginStatus {
            name: plugin.name.clone(),
            library: launch.load.library.clone(),
            state: PluginState::Loading,
            reason: None,
            pid: None,
            description: None,
        }));
        let supervisor = Supervisor::new(launch, plugin.timeout, received, enabled, status.clone(), metrics);
        Plugin {
            name: plugin.name.clone(),
            sources: plugin.sources.clone(),
            hold: plugin.on_failure == OnFailure::Hold,
            queue,
            enable,
            observing: Arc::new(Semaphore::new(1)),
            status,
            supervisor: Mutex::new(Some(tokio::spawn(supervisor.run(ready, stopping)))),
        }
    }

    fn is_of(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|name| name == source)
    }

    /// The wants of a plugin that was never loaded are unknown: then it counts for finals, so that their consumers get the report that the
    /// plugin is missing.
    fn is_for(&self, source: &str, kind: &Kind) -> bool {
        let known = self.status.lock().unwrap_or_else(PoisonError::into_inner).description.is_some();
        self.is_of(source) && if known { self.wants(kind) } else { *kind == Kind::TranscriptFinal }
    }

    fn wants(&self, kind: &Kind) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.description.as_ref().is_some_and(|described| Wants::from_bits(described.wants).include(kind))
    }

    async fn ask(&self, event: &Arc<Event>, frame: &mut Option<Arc<[u8]>>) -> Result<Reply, Failure> {
        let gone =
            || Failure { message: "its supervisor is gone; restart the daemon".into(), quarantined: false };
        let (work, answer) = work(event, frame)?;
        self.queue.send(work).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn report(&self, error: String, quarantined: bool) -> Body {
        let data = match quarantined {
            true => json!({ "error": error, "quarantined": true }),
            false => json!({ "error": error }),
        };
        Body::Plugin(PluginEvent { plugin: self.name.clone(), data })
    }
}

type Answer = oneshot::Receiver<Result<Reply, Failure>>;

fn work(event: &Arc<Event>, frame: &mut Option<Arc<[u8]>>) -> Result<(Work, Answer), Failure> {
    let frame = match frame {
        Some(frame) => frame.clone(),
        None => {
            let made: Arc<[u8]> = match wire::event_frame(event) {
                Ok(made) => made.into(),
                Err(error) => return Err(Failure { message: error.to_string(), quarantined: false }),
            };
            frame.insert(made).clone()
        }
    };
    let (answer, answered) = oneshot::channel();
    Ok((Work { event: event.clone(), frame, answer }, answered))
}

fn unwrap(event: Arc<Event>) -> Event {
    Arc::try_unwrap(event).unwrap_or_else(|shared| (*shared).clone())
}
