//! A job's transcript through the plugins, and its last events into the outbox.

use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Blame, Body, Event, Fault, Segment, TranscriptFinal, Usage};
use jiff::Timestamp;
use tracing::{trace, warn};

use crate::job::annotate::prevailing;
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::machine::{Fact, Policy};
use crate::job::{Job, Plan, State, Transcript};
use crate::pipeline::{Held, Pipeline};

/// How soon a job that a plugin holds is shown to it again: a new process is there within a second.
const HELD: Duration = Duration::from_secs(2);

/// Carries out `Duty::Pipe`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn pipe(
    job: Job,
    ledger: Ledger,
    pipeline: Arc<Pipeline>,
    policy: Policy,
) -> Result<(), LedgerError> {
    let State::Heard { plan, transcript } = &job.state else { return Ok(()) };
    let event = Event {
        job: job.id,
        source: job.source.clone(),
        sequence: None,
        time: Timestamp::now(),
        recording: job.recording.clone(),
        metadata: job.metadata.clone(),
        body: Body::TranscriptFinal(final_of(plan, transcript)),
    };
    let processed = pipeline.process(event).await;
    if let Some(held) = processed.held {
        return hold(job, held, ledger, policy).await;
    }
    // A transform may change the text of a final, never its kind.
    let Body::TranscriptFinal(event) = processed.event.body else { return Ok(()) };
    let fact = Fact::Piped { event: Box::new(event), emitted: processed.emitted };
    ledger.advance(job.id, fact, policy).await.map(drop)
}

/// Each thing is told once: an event and a line of log, then the job is shown to the plugin in silence.
async fn hold(job: Job, held: Held, ledger: Ledger, policy: Policy) -> Result<(), LedgerError> {
    // It may quote the transcript.
    trace!(job = %job.id, plugin = held.plugin, reason = held.reason, "held back");
    let told = if held.quarantined { 2 } else { 1 };
    if told <= job.hold_told {
        return ledger.postpone(job.id, Timestamp::now() + HELD).await;
    }
    warn!(
        job = %job.id, plugin = held.plugin, quarantined = held.quarantined,
        "held back until the plugin has looked at it"
    );
    let fact = Fact::Held { told, fault: fault_of(&held), retry_in: HELD };
    ledger.advance(job.id, fact, policy).await.map(drop)
}

/// In our own words: what the plugin was to hide may stand in its reason, and this is published.
fn fault_of(held: &Held) -> Fault {
    let plugin = &held.plugin;
    let message = match held.quarantined {
        true => format!(
            "plugin {plugin:?} is quarantined after three failures; the job waits (on_failure = \"hold\") until its library is replaced, it \
             is enabled (`harkd plugins enable`), or the daemon is restarted"
        ),
        false => format!(
            "plugin {plugin:?} could not look at the transcript; the job waits (on_failure = \"hold\") until it has, and is shown to it \
             again and again"
        ),
    };
    Fault { code: "PluginHolds".into(), blame: Blame::Plugin, message, attempts: None }
}

fn final_of(plan: &Plan, transcript: &Transcript) -> TranscriptFinal {
    let value = |of: fn(&Segment) -> Option<&str>| prevailing(&transcript.segments, of);
    TranscriptFinal {
        engine: plan.engine.clone(),
        model: plan.model.clone(),
        text: transcript.text.clone(),
        language: value(|segment| segment.language.as_deref()),
        emotion: value(|segment| segment.emotion.as_deref()),
        truncated: transcript.truncated,
        segments: Some(transcript.segments.clone()),
        segments_object: None,
        usage: Usage { seconds: transcript.billed_seconds },
    }
}
