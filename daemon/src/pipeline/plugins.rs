//! The plugins of one config, in its order, and what becomes of an event in them.

use std::sync::Arc;

use hark_sdk::emission::File;
use hark_sdk::event::{About, Body, Event, Kind};

use super::environment::PluginEnvironment;
use super::host::{Failure, Reply};
use super::plugin::{Plugin, Running};
use super::status::{PluginState, PluginStatus};
use crate::config;
use crate::job::piece_machine::Release;

/// Plugins in the order of the config.
#[derive(Debug, Default)]
pub struct Plugins(Vec<Plugin>);

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

impl Plugins {
    pub(super) fn new<'a>(plugins: impl Iterator<Item = (&'a config::Plugin, Arc<Running>)>) -> Plugins {
        Plugins(plugins.map(|(plugin, running)| Plugin::new(plugin, running)).collect())
    }

    /// The running process of a plugin, if it was started with the settings that a new process would get.
    pub(super) fn running(
        &self,
        environment: &PluginEnvironment,
        plugin: &config::Plugin,
        folders: &config::Plugins,
    ) -> Option<Arc<Running>> {
        let launch = environment.launch(plugin, folders);
        self.find(&plugin.name).filter(|running| running.was_started_with(&launch, plugin.timeout))
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Running>> {
        self.0.iter().find(|plugin| plugin.name == name).map(|plugin| Arc::clone(&plugin.running))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|plugin| plugin.name.as_str())
    }

    /// Waits until each plugin is loaded or has failed to load.
    pub async fn loaded(&self) {
        for plugin in &self.0 {
            // A supervisor that has ended already has logged the reason.
            let mut status = plugin.running.status.clone();
            let _ = status.wait_for(|status| status.state != PluginState::Loading).await;
        }
    }

    /// Passes an event of a job through every plugin that is configured for its source and wants its kind: the transforms first, then the
    /// others, both in the order of the config. Waits while a plugin's queue is full; a plugin that fails delays the event by its `timeout`
    /// at most. Failures are reported as events, with two exceptions: failures on partials are not reported, and a quarantine is reported with
    /// the final, not with each segment.
    ///
    /// `earlier` returns the segments of the job that plugins received before this event. A process that was started after them gets them first,
    /// so that it knows what its predecessor knew; what the plugin emits about them is dropped.
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
            .0
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
        self.0.iter().any(|plugin| plugin.is_of(source))
    }

    /// Whether a plugin that is configured for a source is a transform, or was never loaded and may be one.
    pub(super) fn transforms(&self, source: &str) -> bool {
        self.0.iter().any(|plugin| plugin.is_of(source) && plugin.may_remove_text())
    }

    /// Whether a plugin that is configured for a source wants a kind of event.
    pub fn wants(&self, source: &str, kind: &Kind) -> bool {
        self.0.iter().any(|plugin| plugin.is_for(source, kind))
    }

    /// When the daemon publishes the partials, or the segments, of a source. If a transform does not want this kind, they wait for the final:
    /// the final is then the first text that the transform has processed.
    pub fn release(&self, source: &str, kind: &Kind) -> Release {
        let mut transforms = self.0.iter().filter(|plugin| plugin.is_of(source) && plugin.may_transform());
        if transforms.any(|transform| !transform.is_for(source, kind)) {
            return Release::WithFinal;
        }
        let mut plugins = self.0.iter().filter(|plugin| plugin.is_for(source, kind));
        match kind {
            // A plugin that only listens does not delay partials.
            Kind::TranscriptPartial if !plugins.any(Plugin::may_transform) => Release::AtOnce,
            Kind::TranscriptPartial => Release::AfterPlugins,
            _ if plugins.next().is_none() => Release::AtOnce,
            _ => Release::AfterPlugins,
        }
    }

    /// Status of each plugin, in the order of the config.
    pub(super) fn statuses(&self) -> Vec<PluginStatus> {
        self.0.iter().map(|plugin| plugin.running.status.borrow().clone()).collect()
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
