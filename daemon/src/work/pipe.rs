//! Passes the transcripts of pieces and jobs through the plugins, and writes the job's last events into the outbox.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use hark_sdk::emission::File;
use hark_sdk::event::{Blame, Body, Event, Fault, Kind, PluginEvent, TranscriptFinal};
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::json;
use tracing::{trace, warn};

use super::{PieceTask, Tools};
use crate::job::annotate::annotations;
use crate::job::job_machine::Fact;
use crate::job::ledger::{Ledger, LedgerError, advance, pieces, published};
use crate::job::piece_machine::{PieceFact, Release};
use crate::job::transcript::{final_of, segment};
use crate::job::{Job, Piece, PieceId, PieceState, Stage, Transcript, fault};
use crate::pipeline::Held;
use crate::source::plugin_files::NotWritten;

/// How soon a job that a plugin holds is given to the plugin again: a new plugin process starts within a second.
const HELD: Duration = Duration::from_secs(2);

impl Tools {
    /// Stores the transcript of a piece, or of one of its halves.
    pub(super) async fn heard(
        &self,
        task: &PieceTask,
        transcript: Transcript,
        revision: u64,
    ) -> Result<(), LedgerError> {
        let transcript = self.finished(&task.job, transcript);
        let transcript = match &task.job.plan {
            Some(plan) => transcript.placed(task.piece.asked_for(), plan),
            None => transcript,
        };
        // Emotion is suppressed here, before the ledger, the events and the plugins see it. If the route is gone, its policy is unknown, and all
        // emotion is suppressed.
        let route = self.route(&task.job).ok();
        let transcript = transcript.without_emotion(|role| route.is_some_and(|it| it.emotion.keeps(role)));
        let release = self.release(task);
        self.end_piece(task, PieceFact::Heard { transcript, release }, revision).await
    }

    /// Lets the first answer of a piece stand, whose halves failed.
    pub(super) async fn keep(&self, task: &PieceTask) -> Result<(), LedgerError> {
        warn!("the piece cannot be recognized in halves; its first answer is kept");
        self.end_piece(task, PieceFact::Kept { release: self.release(task) }, 0).await
    }

    /// When the transcript of a piece leaves the daemon. The only piece of a recording leaves with the final.
    fn release(&self, task: &PieceTask) -> Release {
        match task.number_in_events() {
            Some(_) => self.pipeline.of(task.job.id).release(&task.job.source, &Kind::TranscriptSegment),
            None => Release::WithFinal,
        }
    }

    /// Stores a fact that ends a piece. If no plugin is configured for the source, the same transaction writes the job's last events.
    async fn end_piece(&self, task: &PieceTask, fact: PieceFact, revision: u64) -> Result<(), LedgerError> {
        let (id, policy, now) = (task.id(), self.settings.policy.clone(), Timestamp::now());
        let ends = !self.pipeline.of(task.job.id).has_plugins_for(&task.job.source);
        let write = move |connection: &Connection| {
            let heard = advance::advance_piece(connection, id, fact.clone(), revision, &policy, now)?;
            match heard {
                Some(heard) if ends && heard.job.stage == Stage::Heard => {
                    let Some(event) = final_of(&heard.job, &pieces::of_job(connection, id.job)?) else {
                        return Ok(Some(heard));
                    };
                    let fact = Fact::Piped { event: Box::new(event), emitted: Vec::new() };
                    advance::advance(connection, id.job, fact, now)
                }
                heard => Ok(heard),
            }
        };
        self.ledger.step(write).await.map(drop)
    }
}

/// Carries out `Duty::Pipe` of a piece: its `transcript.segment` passes through the plugins.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn pipe_piece(task: PieceTask, tools: Tools) -> Result<(), LedgerError> {
    let PieceTask { job, piece } = &task;
    let (PieceState::Piping { published }, Some(heard)) = (&piece.state, &piece.heard) else { return Ok(()) };
    tools.partials.finish(task.id()).await;
    // The library of a transform may have been replaced since the piece was heard.
    let plugins = tools.pipeline.of(job.id);
    let is_withheld = plugins.release(&job.source, &Kind::TranscriptSegment) == Release::WithFinal;
    let Some(event) = segment_event(job, piece).filter(|_| !is_withheld) else {
        let fact = PieceFact::Piped { transcript: heard.clone(), leaves: false, emitted: Vec::new() };
        return tools.end_piece(&task, fact, 0).await;
    };
    let processed = tools.pipeline.process(event, || earlier(tools.ledger.clone(), task.id())).await;
    if let Some(held) = processed.held {
        tools.ledger.postpone_piece(task.id(), Timestamp::now() + HELD).await?;
        return hold(job, held, &tools).await;
    }
    let transcript = match processed.event.body {
        // What a former owner published stays as it is.
        Body::TranscriptSegment(event) if !published => heard.clone().with_segments(event.segments),
        _ => heard.clone(),
    };
    let fact = PieceFact::Piped { transcript, leaves: !published, emitted: processed.emitted };
    tools.end_piece(&task, fact, 0).await
}

/// The `transcript.segment` of a piece as plugins get it.
fn segment_event(job: &Job, piece: &Piece) -> Option<Event> {
    let (plan, heard) = (job.plan.as_ref()?, piece.heard.as_ref()?);
    let pieces = (job.stage == Stage::Recognizing).then_some(job.pieces);
    Some(job.event(None, segment(plan, piece.number, pieces, &piece.span, heard)))
}

/// The segments of a job that plugins had before this piece, in order of time. Empty also if the ledger cannot be read: then the daemon is
/// about to end.
pub(super) async fn earlier(ledger: Ledger, piece: PieceId) -> Vec<Event> {
    let Ok(Some((job, pieces))) = ledger.find_whole(piece.job).await else { return Vec::new() };
    let heard =
        pieces.iter().filter(|other| other.number != piece.number && other.state == PieceState::Heard);
    heard.filter_map(|other| segment_event(&job, other)).collect()
}

/// Carries out `Duty::Pipe` of a job: its final passes through the plugins, after its annotations.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn pipe(job: Job, tools: Tools) -> Result<(), LedgerError> {
    let Some((job, pieces)) = tools.ledger.find_whole(job.id).await? else { return Ok(()) };
    if job.stage != Stage::Heard {
        return Ok(());
    }
    let Some(transcript) = final_of(&job, &pieces) else { return Ok(()) };
    for piece in &pieces {
        tools.partials.finish(PieceId { job: job.id, number: piece.number }).await;
    }
    let mut events = tools.annotations(&job, &transcript).await?;
    events.push(Body::TranscriptFinal(transcript));
    let mut emitted = Vec::new();
    for body in events {
        let processed = tools.pipeline.process(job.event(None, body), || ready(Vec::new())).await;
        if let Some(held) = processed.held {
            tools.ledger.postpone(job.id, Timestamp::now() + HELD).await?;
            return hold(&job, held, &tools).await;
        }
        emitted.extend(processed.emitted);
        emitted.extend(tools.write_files(&job, processed.files).await?);
        if let Body::TranscriptFinal(event) = processed.event.body {
            let fact = Fact::Piped { event: Box::new(event), emitted };
            return tools.ledger.advance(job.id, fact).await.map(drop);
        }
    }
    Ok(())
}

impl Tools {
    /// Writes the files that plugins handed over. Returns an event of each plugin with the paths, and with why a file was not written.
    async fn write_files(&self, job: &Job, files: Vec<(String, File)>) -> Result<Vec<Body>, LedgerError> {
        let mut by_plugin = BTreeMap::<String, (Vec<String>, Vec<String>)>::new();
        for (plugin, file) in files {
            let (paths, errors) = by_plugin.entry(plugin.clone()).or_default();
            match self.settings.plugin_files.write(job, &plugin, file).await {
                Ok(path) => paths.extend(path.map(|path| path.to_string_lossy().into_owned())),
                Err(NotWritten::Ledger(error)) => return Err(error),
                Err(NotWritten::Refused(error)) => {
                    warn!(job = %job.id, plugin, error, "a file that the plugin handed over is not written");
                    errors.push(error);
                }
            }
        }
        let event = |plugin: &String, data| {
            Body::Plugin(PluginEvent { plugin: plugin.clone(), data, ..PluginEvent::default() })
        };
        let mut events = Vec::new();
        for (plugin, (paths, errors)) in &by_plugin {
            events.extend((!paths.is_empty()).then(|| event(plugin, json!({ "files": paths }))));
            events.extend(errors.iter().map(|error| event(plugin, json!({ "error": error }))));
        }
        Ok(events)
    }

    /// The annotations of a job that its plugins want.
    async fn annotations(&self, job: &Job, transcript: &TranscriptFinal) -> Result<Vec<Body>, LedgerError> {
        if !self.pipeline.of(job.id).wants(&job.source, &Kind::AnnotationSpeech) {
            return Ok(Vec::new());
        }
        let id = job.id;
        let speech = self.ledger.read(move |connection| published::speech(connection, id)).await?;
        let others = annotations(transcript.segments.as_deref().unwrap_or_default());
        Ok(speech.map(Body::AnnotationSpeech).into_iter().chain(others).collect())
    }
}

/// Reports that a plugin holds a job. The hold and the quarantine are reported once each, by an event and a log line; later tries report
/// nothing.
async fn hold(job: &Job, held: Held, tools: &Tools) -> Result<(), LedgerError> {
    // At `trace` only: the reason may quote the transcript.
    trace!(job = %job.id, plugin = held.plugin, reason = held.reason, "the plugin holds the job back");
    let level = if held.quarantined { 2 } else { 1 };
    if level <= job.hold_reported {
        return Ok(());
    }
    warn!(
        plugin = held.plugin,
        quarantined = held.quarantined,
        "the job is held back until the plugin has processed its transcript"
    );
    let fact = Fact::Held { level, fault: fault_of(&held), retry_in: HELD };
    tools.ledger.advance(job.id, fact).await.map(drop)
}

/// The fault for the event. It does not contain the plugin's own reason: the reason may quote text that the plugin was to hide.
fn fault_of(held: &Held) -> Fault {
    let plugin = &held.plugin;
    let message = match held.quarantined {
        true => format!(
            "plugin {plugin:?} is quarantined after three failures; the job waits (on_failure = \"hold\") until its library is replaced, it \
             is enabled (`harkd plugins enable`), or the daemon is restarted"
        ),
        false => format!(
            "plugin {plugin:?} could not look at the transcript; the job waits (on_failure = \"hold\") and is given to the plugin again \
             until the plugin has looked at it"
        ),
    };
    fault("PluginHolds", Blame::Plugin, message)
}
