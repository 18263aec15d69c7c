//! Passes a job's transcript through the plugins and writes the job's last events into the outbox.

use std::time::Duration;

use hark_sdk::event::{Blame, Body, Fault};
use jiff::Timestamp;
use rusqlite::Connection;
use tracing::{trace, warn};

use super::{PieceTask, Tools};
use crate::job::job_machine::Fact;
use crate::job::ledger::{LedgerError, advance, pieces};
use crate::job::piece_machine::PieceFact;
use crate::job::transcript::final_of;
use crate::job::{Job, Stage, Transcript, fault};
use crate::pipeline::Held;

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
        // Here, before the ledger, the events and the plugins have it. Without its route, the job's policy is not known.
        let route = self.route(&task.job).ok();
        let transcript = transcript.without_emotion(|role| route.is_some_and(|it| it.emotion.keeps(role)));
        let is_withheld = self.pipeline.withholds_partials(&task.job.source);
        self.end_piece(task, PieceFact::Heard { transcript, is_withheld }, revision).await
    }

    /// Lets the first answer of a piece stand, whose halves failed.
    pub(super) async fn keep(&self, task: &PieceTask) -> Result<(), LedgerError> {
        warn!("no halves of the piece were heard; its first answer is kept, which repeats itself or is cut");
        let is_withheld = self.pipeline.withholds_partials(&task.job.source);
        self.end_piece(task, PieceFact::Kept { is_withheld }, 0).await
    }

    /// Stores a fact that ends a piece. If no plugin is configured for the source, the same transaction writes the job's last events.
    async fn end_piece(&self, task: &PieceTask, fact: PieceFact, revision: u64) -> Result<(), LedgerError> {
        let (id, policy, now) = (task.id(), self.policy.clone(), Timestamp::now());
        let ends = !self.pipeline.has_plugins_for(&task.job.source);
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
        if let Some(advanced) = self.ledger.write(write).await? {
            self.ledger.announce_step(&advanced);
        }
        Ok(())
    }
}

/// Carries out `Duty::Pipe`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn pipe(job: Job, tools: Tools) -> Result<(), LedgerError> {
    let Some((job, pieces)) = tools.ledger.find_whole(job.id).await? else { return Ok(()) };
    if job.stage != Stage::Heard {
        return Ok(());
    }
    let Some(event) = final_of(&job, &pieces) else { return Ok(()) };
    let event = job.event(None, Body::TranscriptFinal(event));
    let processed = tools.pipeline.process(event).await;
    if let Some(held) = processed.held {
        return hold(job, held, tools).await;
    }
    // A transform may change the text of a final, never its kind.
    let Body::TranscriptFinal(event) = processed.event.body else { return Ok(()) };
    let fact = Fact::Piped { event: Box::new(event), emitted: processed.emitted };
    tools.ledger.advance(job.id, fact).await.map(drop)
}

/// Puts off a job that a plugin holds. The hold and the quarantine are reported once each, by an event and a log line; later tries report
/// nothing.
async fn hold(job: Job, held: Held, tools: Tools) -> Result<(), LedgerError> {
    // At `trace` only: the reason may quote the transcript.
    trace!(job = %job.id, plugin = held.plugin, reason = held.reason, "held back");
    let level = if held.quarantined { 2 } else { 1 };
    if level <= job.hold_told {
        return tools.ledger.postpone(job.id, Timestamp::now() + HELD).await;
    }
    warn!(
        plugin = held.plugin,
        quarantined = held.quarantined,
        "held back until the plugin has processed it"
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
