//! Plugins: every event of a job passes through the plugins that are configured for its source, in the order of the config, before it is
//! published.
//!
//! Each plugin runs in a process of its own (`child`, `library`), supervised by a task (`host`) with a bounded queue. A plugin's failure
//! never fails a job: the daemon publishes it as a `plugin.<name>` event and goes on with the transcript, unless the config has `on_failure
//! = "hold"`. The time that a plugin costs is bounded: each event has `timeout`, and three deaths in ten minutes quarantine the plugin.

pub mod child;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod host;
mod inspect;
mod library;
mod log;
mod process;
mod recorder;
mod schema;
mod status;
mod surroundings;
mod trial;
mod verify;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use hark_sdk::Wants;
use hark_sdk::emission::File;
use hark_sdk::event::{About, Body, Event, Kind, PluginEvent};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{self, OnFailure};
use crate::job::piece_machine::Release;
use crate::os::private;
use crate::telemetry::metrics::Metrics;

use host::{Failure, QUEUE, Reply, Supervisor, Work};
use process::Launch;

pub use inspect::{inspect, schema_of};
pub use process::LoadError;
pub use status::{Enabled, PluginState, PluginStatus};
pub use surroundings::Surroundings;
pub use trial::{Trial, Verdict, trial};
pub use wire::Description;

/// The most jobs whose contexts a plugin remembers: jobs that fail are not forgotten one by one.
const MOST_CONTEXTS: usize = 16_384;

/// The plugins of a daemon.
#[derive(Debug)]
pub struct Pipeline {
    plugins: Vec<Plugin>,
    stopping: CancellationToken,
}

/// An event after all plugins.
#[derive(Debug)]
pub struct Processed {
    /// The event, its text perhaps replaced by transforms.
    pub event: Event,
    /// Events to publish after it, in order: alerts, annotations, events of plugins, and reports of failed plugins.
    pub emitted: Vec<Body>,
    /// The files that plugins handed over, with the plugins' names.
    pub files: Vec<(String, File)>,
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

/// One plugin, as seen by the code that sends it events.
#[derive(Debug)]
struct Plugin {
    name: String,
    sources: Vec<String>,
    hold: bool,
    queue: mpsc::Sender<Work>,
    enable: mpsc::Sender<oneshot::Sender<()>>,
    /// The process that has the context of a job, by its number.
    contexts: Mutex<HashMap<Uuid, u64>>,
    status: watch::Receiver<PluginStatus>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Pipeline {
    /// Starts one supervised process for each plugin; [`Pipeline::loaded`] waits for them. A plugin that cannot be loaded does not stop the
    /// daemon: the daemon logs an error, and retries when the library changes and with growing pauses.
    pub fn start_in(
        surroundings: &Surroundings,
        plugins: &[config::Plugin],
        folders: &config::Plugins,
        metrics: Metrics,
    ) -> Pipeline {
        let stopping = CancellationToken::new();
        let start = |plugin: &config::Plugin| {
            let own = surroundings.own_folder(&plugin.name);
            if let Err(error) = private::create_folder(&own) {
                tracing::warn!(plugin = %plugin.name, folder = %own.display(), %error, "plugin's own folder cannot be created");
            }
            let launch = surroundings.launch(plugin, folders);
            Plugin::start(launch, plugin, metrics.clone(), stopping.clone())
        };
        Pipeline { plugins: plugins.iter().map(start).collect(), stopping }
    }

    /// Waits until each plugin is loaded or has failed to load: some ten seconds for a plugin that hangs. Call it before the first event: an
    /// earlier event may find that its plugins are not loaded yet.
    pub async fn loaded(&self) {
        for plugin in &self.plugins {
            // A supervisor that has ended already has logged the reason.
            let _ = plugin.status.clone().wait_for(|status| status.state != PluginState::Loading).await;
        }
    }

    /// Runs an event of a job through every plugin that is configured for its source and wants its kind: the transforms first, then all
    /// others, both in the order of the config. Waits while a plugin's queue is full; a plugin that fails delays the event by its `timeout`
    /// at most. Failures are reported as events, but not about partials, nor a quarantine about each segment: the final reports it.
    ///
    /// `earlier`: the segments of the job that plugins had before. A process that is newer than these gets them first, so that it knows
    /// what its predecessor knew; what it emits about them is dropped.
    ///
    /// Events of one job stay in order as long as the caller awaits one call before the next. Cancelling the future loses only the answer.
    pub async fn process<F>(&self, event: Event, earlier: impl Fn() -> F + Sync) -> Processed
    where
        F: Future<Output = Vec<Event>> + Send,
    {
        let kind = event.kind();
        let about = about(&event.body);
        let original = Arc::new(event);
        let mut event = original.clone();
        let (mut emitted, mut files) = (Vec::new(), Vec::new());
        let (transforms, others): (Vec<_>, Vec<_>) = self
            .plugins
            .iter()
            .filter(|plugin| plugin.is_for(&original.source, &kind))
            .partition(|plugin| plugin.may_transform());
        for plugin in transforms.into_iter().chain(others) {
            plugin.give_context(&event, &earlier).await;
            let report = |message, quarantined| match kind {
                Kind::TranscriptPartial => None,
                Kind::TranscriptSegment if quarantined => None,
                _ => Some(plugin.report(message, quarantined)),
            };
            match plugin.ask(&event).await {
                Ok(Reply { said, replaced, refused, files: handed }) => {
                    emitted.extend(said);
                    files.extend(handed.into_iter().map(|file| (plugin.name.clone(), file)));
                    emitted.extend(refused.and_then(|message| report(message, false)));
                    if let Some(replaced) = replaced {
                        event = Arc::new(replaced);
                    }
                }
                Err(Failure { message, quarantined }) if plugin.hold => {
                    let held = Held { plugin: plugin.name.clone(), reason: message, quarantined };
                    let event = unwrap(original);
                    return Processed { event, emitted: Vec::new(), files: Vec::new(), held: Some(held) };
                }
                Err(Failure { message, quarantined }) => emitted.extend(report(message, quarantined)),
            }
        }
        emitted.iter_mut().for_each(|body| body.set_about(about));
        drop(original);
        Processed { event: unwrap(event), emitted, files, held: None }
    }

    /// Whether a plugin is configured for a source.
    pub fn has_plugins_for(&self, source: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.is_of(source))
    }

    /// Whether a plugin that is configured for a source is a transform, or may turn out to be one when it is loaded.
    pub fn transforms(&self, source: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.is_of(source) && plugin.may_transform())
    }

    /// Whether a plugin that is configured for a source wants a kind of event.
    pub fn wants(&self, source: &str, kind: &Kind) -> bool {
        self.plugins.iter().any(|plugin| plugin.is_for(source, kind))
    }

    /// When the partials, or the segments, of a source leave the daemon. They leave with the final where a transform does not want them:
    /// the final is the first text that it has processed.
    pub fn release(&self, source: &str, kind: &Kind) -> Release {
        let mut transforms =
            self.plugins.iter().filter(|plugin| plugin.is_of(source) && plugin.may_transform());
        if transforms.any(|transform| !transform.is_for(source, kind)) {
            return Release::WithFinal;
        }
        let mut plugins = self.plugins.iter().filter(|plugin| plugin.is_for(source, kind));
        match kind {
            // A plugin that only listens does not delay partials.
            Kind::TranscriptPartial if !plugins.any(Plugin::may_transform) => Release::AtOnce,
            Kind::TranscriptPartial => Release::AfterPlugins,
            _ if plugins.next().is_none() => Release::AtOnce,
            _ => Release::AfterPlugins,
        }
    }

    /// Status of each plugin, in the order of the config.
    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.plugins.iter().map(|plugin| plugin.status.borrow().clone()).collect()
    }

    /// Ends a quarantine, or retries at once to load a library that could not be loaded. Waits until the plugin is loaded or has failed to
    /// load, some ten seconds for a library that hangs. `None`: there is no plugin of that name.
    pub async fn enable(&self, name: &str) -> Option<Enabled> {
        let plugin = self.plugins.iter().find(|plugin| plugin.name == name)?;
        let was = plugin.status.borrow().state;
        let (done, is_done) = oneshot::channel();
        // A supervisor that has ended has logged the reason; the status is its last one.
        if plugin.enable.send(done).await.is_ok() {
            let _ = is_done.await;
        }
        let PluginStatus { state, reason, .. } = plugin.status.borrow().clone();
        Some(Enabled { was, state, reason })
    }

    /// Waits until every plugin has answered its queued events and has ended in good order, for at most two of its `timeout`s. Later events
    /// find no plugin.
    pub async fn stop(&self) {
        self.stopping.cancel();
        for Plugin { name, supervisor, .. } in &self.plugins {
            let supervisor = supervisor.lock().take();
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
        stopping: CancellationToken,
    ) -> Plugin {
        let (queue, received) = mpsc::channel(QUEUE);
        let (enable, enabled) = mpsc::channel(1);
        let (entered, status) = watch::channel(PluginStatus {
            name: plugin.name.clone(),
            library: launch.load.library.clone(),
            state: PluginState::Loading,
            reason: None,
            pid: None,
            starts: 0,
            description: None,
        });
        let supervisor = Supervisor::new(launch, plugin.timeout, received, enabled, entered, metrics);
        Plugin {
            name: plugin.name.clone(),
            sources: plugin.sources.clone(),
            hold: plugin.on_failure == OnFailure::Hold,
            queue,
            enable,
            contexts: Mutex::default(),
            status,
            supervisor: Mutex::new(Some(tokio::spawn(supervisor.run(stopping)))),
        }
    }

    fn is_of(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|name| name == source)
    }

    /// The wants of a plugin that was never loaded are unknown: then it counts for finals, so that their consumers get the report that the
    /// plugin is missing; with `on_failure = "hold"` it counts for all texts.
    fn is_for(&self, source: &str, kind: &Kind) -> bool {
        self.is_of(source)
            && match &self.status.borrow().description {
                Some(description) => Wants::from_bits(description.wants).include(kind),
                None => *kind == Kind::TranscriptFinal || (self.hold && kind.family() == "transcript"),
            }
    }

    /// Whether it is a transform, or, since it was never loaded, may be one that the config does not do without.
    fn may_transform(&self) -> bool {
        self.status.borrow().description.as_ref().map_or(self.hold, |description| description.transform)
    }

    /// Gives a process that is newer than the job the job's earlier segments.
    async fn give_context<F>(&self, event: &Event, earlier: &(impl Fn() -> F + Sync))
    where
        F: Future<Output = Vec<Event>> + Send,
    {
        if !matches!(event.body, Body::TranscriptSegment(_) | Body::TranscriptPartial(_)) {
            // A final has all segments, and nothing follows it.
            self.contexts.lock().remove(&event.job);
            return;
        }
        let process = self.status.borrow().starts;
        if !self.is_for(&event.source, &Kind::TranscriptSegment)
            || self.contexts.lock().get(&event.job) == Some(&process)
        {
            return;
        }
        for segment in earlier().await {
            // A failure counts against the plugin; the event that follows is reported.
            let _ = self.ask(&Arc::new(segment)).await;
        }
        let mut contexts = self.contexts.lock();
        if contexts.len() >= MOST_CONTEXTS {
            // The jobs that are under way get their context once more.
            contexts.clear();
        }
        contexts.insert(event.job, process);
    }

    async fn ask(&self, event: &Arc<Event>) -> Result<Reply, Failure> {
        let gone =
            || Failure { message: "its supervisor is gone; restart the daemon".into(), quarantined: false };
        let (answer, answered) = oneshot::channel();
        self.queue.send(Work { event: event.clone(), answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    fn report(&self, error: String, quarantined: bool) -> Body {
        let data = match quarantined {
            true => json!({ "error": error, "quarantined": true }),
            false => json!({ "error": error }),
        };
        Body::Plugin(PluginEvent { plugin: self.name.clone(), data, ..PluginEvent::default() })
    }
}

/// What events of plugins tell about the event that they were called with.
fn about(body: &Body) -> About {
    match body {
        Body::TranscriptPartial(partial) => About { piece: partial.piece, revision: Some(partial.revision) },
        Body::TranscriptSegment(segment) => About { piece: Some(segment.piece), revision: None },
        _ => About::default(),
    }
}

fn unwrap(event: Arc<Event>) -> Event {
    Arc::try_unwrap(event).unwrap_or_else(|shared| (*shared).clone())
}
