//! One plugin, as seen by the code that sends it events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hark_sdk::Wants;
use hark_sdk::event::{Body, Event, Kind, PluginEvent};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::MOST_JOBS;
use super::host::{Failure, QUEUE, Reply, Supervisor, Work};
use super::process::Launch;
use super::status::{PluginState, PluginStatus};
use crate::config::{self, OnFailure};
use crate::telemetry::metrics::Metrics;

/// A plugin of a config.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) name: String,
    sources: Vec<String>,
    pub(super) hold: bool,
    pub(super) running: Arc<Running>,
}

/// The supervised process of a plugin. Plugins of several configs may share it. When the last of these plugins is dropped, the process
/// answers the queued events and ends.
#[derive(Debug)]
pub(super) struct Running {
    launch: Launch,
    timeout: Duration,
    queue: mpsc::Sender<Work>,
    pub(super) enable: mpsc::Sender<oneshot::Sender<()>>,
    /// For each job, the number of the process that has received the earlier segments of the job.
    contexts: Mutex<HashMap<Uuid, u64>>,
    pub(super) status: watch::Receiver<PluginStatus>,
}

impl Running {
    /// Starts the process, and the task that supervises it until `stopping`.
    pub(super) fn start(
        launch: Launch,
        timeout: Duration,
        metrics: &Metrics,
        stopping: &CancellationToken,
    ) -> (Arc<Running>, JoinHandle<()>) {
        let (queue, received) = mpsc::channel(QUEUE);
        let (enable, enabled) = mpsc::channel(1);
        let (entered, status) = watch::channel(PluginStatus {
            name: launch.load.name.clone(),
            library: launch.load.library.clone(),
            state: PluginState::Loading,
            reason: None,
            pid: None,
            starts: 0,
            description: None,
        });
        let supervisor =
            Supervisor::new(launch.clone(), timeout, received, enabled, entered, metrics.clone());
        let supervisor = tokio::spawn(supervisor.run(stopping.clone()));
        let running = Running { launch, timeout, queue, enable, contexts: Mutex::default(), status };
        (Arc::new(running), supervisor)
    }

    /// Whether the process was started with these settings.
    pub(super) fn was_started_with(&self, launch: &Launch, timeout: Duration) -> bool {
        self.launch == *launch && self.timeout == timeout
    }
}

impl Plugin {
    pub(super) fn new(plugin: &config::Plugin, running: Arc<Running>) -> Plugin {
        let hold = plugin.on_failure == OnFailure::Hold;
        Plugin { name: plugin.name.clone(), sources: plugin.sources.clone(), hold, running }
    }

    pub(super) fn is_of(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|name| name == source)
    }

    /// The wants of a plugin that was never loaded are unknown: then it counts for finals, so that their consumers get the report that the
    /// plugin is missing; with `on_failure = "hold"` it counts for all texts.
    pub(super) fn is_for(&self, source: &str, kind: &Kind) -> bool {
        self.is_of(source)
            && match &self.running.status.borrow().description {
                Some(description) => Wants::from_bits(description.wants).include(kind),
                None => *kind == Kind::TranscriptFinal || (self.hold && kind.family() == "transcript"),
            }
    }

    /// Whether the plugin is a transform. A plugin that was never loaded counts as one if its `on_failure` is `hold`: then a text must not leave
    /// before a transform has processed it.
    pub(super) fn may_transform(&self) -> bool {
        self.running
            .status
            .borrow()
            .description
            .as_ref()
            .map_or(self.hold, |description| description.transform)
    }

    /// Whether the plugin may remove words from texts: it is a transform, or it was never loaded and may be one.
    pub(super) fn may_remove_text(&self) -> bool {
        self.running.status.borrow().description.as_ref().is_none_or(|description| description.transform)
    }

    /// Sends a process the earlier segments of a job, if the process was started after the job's first segments.
    pub(super) async fn give_context<F>(&self, event: &Event, earlier: &(impl Fn() -> F + Sync))
    where
        F: Future<Output = Vec<Event>> + Send,
    {
        if !matches!(event.body, Body::TranscriptSegment(_) | Body::TranscriptPartial(_)) {
            // A final has all segments, and nothing follows it.
            self.running.contexts.lock().remove(&event.job);
            return;
        }
        let process = self.running.status.borrow().starts;
        if !self.is_for(&event.source, &Kind::TranscriptSegment)
            || self.running.contexts.lock().get(&event.job) == Some(&process)
        {
            return;
        }
        for segment in earlier().await {
            // The supervisor counts a failure here. The answer is dropped: the pipeline reports only the event that follows.
            let _ = self.ask(&Arc::new(segment)).await;
        }
        let mut contexts = self.running.contexts.lock();
        if contexts.len() >= MOST_JOBS {
            // The map is full, so it starts empty: jobs in progress send their earlier segments to the process once more.
            contexts.clear();
        }
        contexts.insert(event.job, process);
    }

    pub(super) async fn ask(&self, event: &Arc<Event>) -> Result<Reply, Failure> {
        let gone =
            || Failure { message: "its supervisor is gone; restart the daemon".into(), quarantined: false };
        let (answer, answered) = oneshot::channel();
        self.running.queue.send(Work { event: event.clone(), answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    pub(super) fn report(&self, error: String, quarantined: bool) -> Body {
        let data = match quarantined {
            true => json!({ "error": error, "quarantined": true }),
            false => json!({ "error": error }),
        };
        Body::Plugin(PluginEvent { plugin: self.name.clone(), data, ..PluginEvent::default() })
    }
}
