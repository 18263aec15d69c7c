//! `harkd replay`: runs today's plugins over old calls, and shows the difference to what the plugins said then.
//!
//! It reads the stored events of the jobs; nothing is recognized again. The plugins run as in the daemon, with folders of their own that are
//! removed at the end, so a running daemon is not disturbed.

mod difference;
mod jobs;
mod output;
mod stored;

use std::future::ready;
use std::path::Path;
use std::pin::{Pin, pin};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hark_sdk::event::{Body, Event, PluginEvent};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use self::jobs::Jobs;
use self::output::{Counts, Output, Publisher};
use self::stored::{Stored, StoredEvent};
use super::{Exit, say, session};
use crate::broker::JetStream;
use crate::broker::large::restore;
use crate::config::{self, Config, parse_duration};
use crate::counted::counted;
use crate::pipeline::{Pipeline, PluginEnvironment, PluginState};
use crate::telemetry::metrics::Metrics;

/// Events that are with plugins at once, each of another job: enough that no plugin has to wait for the next one.
const MOST_ASKED: usize = 128;
/// Bytes of their bodies. One event alone may have more.
const MOST_BYTES: usize = 32 << 20;
/// The weight of a final whose segments are in an object: their size is known only after they are read.
const OF_OBJECT: usize = 8 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only finals since then: RFC 3339, or a duration back from now, e.g. 7d
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only this source (may be repeated)
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
    /// Only this plugin of the config (may be repeated)
    #[arg(long, value_name = "NAME")]
    plugin: Vec<String>,
    /// Publish what would be said now, to <prefix>.replay.<family>.<name>.<source>.<job>
    #[arg(long)]
    publish: bool,
    /// One line of JSON per event: the fields of the body, and `difference` and `type`
    #[arg(long)]
    json: bool,
}

/// Replays until the last event that was stored when the command began, until Ctrl-C, or until the reader of its output is gone. Ends with 1
/// if a plugin failed on an event, with 78 if one cannot be loaded.
pub fn execute(path: &Path, args: &Args) -> Result<(), Exit> {
    let config = Config::load(path)?;
    let plugins = chosen(&config, &args.plugin)?;
    for name in args.source.iter().filter(|name| !config.source.iter().any(|source| source.name() == *name)) {
        say(&format!("the config has no source {name:?}; events of another daemon's are replayed"));
    }
    let counts = session::block_on(async {
        let mut interrupted = pin!(interruption()?);
        let folder = tempfile::Builder::new().prefix("hark-replay-").tempdir();
        let folder = folder
            .map_err(|error| Exit::Software(format!("a folder for the plugins cannot be made: {error}")))?;
        let mut environment = PluginEnvironment::of(&config, path);
        environment
            .hidden
            .push(std::mem::replace(&mut environment.state_directory, folder.path().to_owned()));
        let replay = Replay { config: &config, plugins: &plugins, args };
        replay.run(&environment, interrupted.as_mut()).await
    })?;
    match counts.failed.is_empty() {
        true => Ok(()),
        false => {
            let each =
                counts.failed.iter().map(|(name, count)| format!("{name} ({})", counted(*count, "event")));
            let each: Vec<String> = each.collect();
            Err(Exit::Failed(format!("plugins failed: {}; the output has their errors", each.join(", "))))
        }
    }
}

/// The plugins of the config that are replayed. They may write into their own folders only: other folders belong to the daemon.
fn chosen(config: &Config, names: &[String]) -> Result<Vec<config::Plugin>, Exit> {
    let is_there = |name: &&String| config.plugin.iter().any(|plugin| plugin.name == **name);
    if let Some(name) = names.iter().find(|name| !is_there(name)) {
        let has: Vec<&str> = config.plugin.iter().map(|plugin| plugin.name.as_str()).collect();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        return Err(Exit::Usage(format!("the config has no plugin {name:?}; it has {has}")));
    }
    let mut chosen = config.plugin.clone();
    chosen.retain(|plugin| names.is_empty() || names.contains(&plugin.name));
    chosen.iter_mut().for_each(|plugin| plugin.write.clear());
    Ok(chosen)
}

/// Waits for the plugins.
async fn all_loaded(pipeline: &Pipeline) -> Result<(), Exit> {
    pipeline.loaded().await;
    match pipeline.statuses().into_iter().find(|status| status.state != PluginState::Running) {
        None => Ok(()),
        Some(status) => Err(Exit::Config(format!(
            "plugin {:?} cannot be loaded: {}",
            status.name,
            status.reason.unwrap_or_default()
        ))),
    }
}

/// Resolves at the first SIGINT or SIGTERM from now on.
fn interruption() -> Result<impl Future<Output = ()>, Exit> {
    let register =
        |kind| signal(kind).map_err(|error| Exit::Software(format!("waiting for signals: {error}")));
    let (mut interrupt, mut terminate) =
        (register(SignalKind::interrupt())?, register(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// What is replayed.
struct Replay<'a> {
    config: &'a Config,
    plugins: &'a [config::Plugin],
    args: &'a Args,
}

/// The plugins at work.
struct Stage<'a> {
    pipeline: &'a Pipeline,
    jetstream: &'a JetStream,
    since: Option<Timestamp>,
}

/// What plugins say of an event.
struct Answer {
    job: Uuid,
    weight: usize,
    emitted: Vec<Body>,
}

impl Replay<'_> {
    async fn run(
        &self,
        environment: &PluginEnvironment,
        mut interrupted: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Counts, Exit> {
        let Replay { config, plugins, args } = *self;
        let open = async {
            let jetstream = session::open(config).await?;
            let stored = Stored::open(&jetstream, &config.nats, args.since, &args.source).await?;
            Ok::<_, Exit>((jetstream, stored))
        };
        let (jetstream, stored) = tokio::select! {
            opened = open => opened?,
            () = interrupted.as_mut() => return Ok(Counts::default()),
        };
        let pipeline = Pipeline::start_in(environment, plugins, &config.plugins, Metrics::new());
        let publisher = args.publish.then(|| Publisher::new(&jetstream, &config.nats.subject_prefix));
        let output = Output::new(args.json, &args.plugin, publisher);
        let stage = Stage { pipeline: &pipeline, jetstream: &jetstream, since: args.since };
        let outcome = match all_loaded(&pipeline).await {
            Ok(()) => stage.play(stored, output, interrupted).await,
            Err(exit) => Err(exit),
        };
        pipeline.stop().await;
        outcome
    }
}

impl Stage<'_> {
    async fn play(
        &self,
        mut stored: Stored,
        mut output: Output,
        mut interrupted: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Counts, Exit> {
        let mut jobs = Jobs::default();
        let mut asked = FuturesUnordered::new();
        let mut bytes = 0;
        // The next event of a job waits here until the plugins have answered the job's earlier event.
        let mut waiting: Option<(Event, usize)> = None;
        let mut is_read = false;
        loop {
            while let Some(job) = jobs.next_ended() {
                if !output.show(job).await? {
                    return output.finish().await;
                }
            }
            output.progress(stored.progress());
            if is_read && asked.is_empty() && waiting.is_none() {
                break;
            }
            let has_room = !is_read && waiting.is_none() && asked.len() < MOST_ASKED && bytes < MOST_BYTES;
            tokio::select! {
                () = interrupted.as_mut() => {
                    say("interrupted: later finals are not replayed");
                    return output.finish().await;
                }
                Some(answer) = asked.next(), if !asked.is_empty() => {
                    let Answer { job, weight, emitted } = answer?;
                    bytes -= weight;
                    jobs.answered(job, emitted);
                }
                found = stored.next(), if has_room => match found? {
                    Some(found) => waiting = self.sort(&mut jobs, found),
                    None => {
                        is_read = true;
                        jobs.end_all();
                    }
                },
            }
            if let Some((event, weight)) = waiting.take_if(|(event, _)| !jobs.is_asked(event.job)) {
                jobs.ask(&event);
                bytes += weight;
                asked.push(self.ask(event, weight));
            }
        }
        if stored.unreadable() > 0 {
            say(&format!("events that could not be read and were left out: {}", stored.unreadable()));
        }
        output.finish().await
    }

    /// Keeps the events of plugins for the comparison, and returns an event for the plugins together with its weight.
    fn sort(&self, jobs: &mut Jobs, found: StoredEvent) -> Option<(Event, usize)> {
        let (event, bytes) = match found {
            StoredEvent::Last(job) => {
                jobs.end(job);
                return None;
            }
            StoredEvent::Body(event, bytes) => (*event, bytes),
        };
        if jobs.is_said(&event) {
            jobs.said(event, bytes);
            return None;
        }
        match &event.body {
            Body::TranscriptFinal(last) => {
                let weight = bytes + if last.segments_object.is_some() { OF_OBJECT } else { 0 };
                self.since.is_none_or(|since| event.time >= since).then_some((event, weight))
            }
            _ => self.pipeline.of(event.job).wants(&event.source, &event.kind()).then_some((event, bytes)),
        }
    }

    async fn ask(&self, mut event: Event, weight: usize) -> Result<Answer, Exit> {
        if let Body::TranscriptFinal(last) = &mut event.body {
            restore(self.jetstream, last).await.map_err(Exit::Unavailable)?;
        }
        let job = event.job;
        let processed = self.pipeline.process(event, || ready(Vec::new())).await;
        let mut emitted = processed.emitted;
        emitted.extend(processed.held.map(|held| {
            let data = json!({ "error": held.reason });
            Body::Plugin(PluginEvent { plugin: held.plugin, data, ..PluginEvent::default() })
        }));
        Ok(Answer { job, weight, emitted })
    }
}

fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let before = parse_duration(text).ok().and_then(|before| SignedDuration::try_from(before).ok());
    before.and_then(|before| Timestamp::now().checked_sub(before).ok()).ok_or_else(|| {
        format!(
            "{text:?} is no time; write it as 2026-11-23T08:15:00Z, or as a duration back from now: 12h, 7d"
        )
    })
}
