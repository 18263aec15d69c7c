//! A job's transcript through the plugins, and its last events into the outbox.

use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::{Body, Event, Segment, TranscriptFinal, Usage};
use jiff::Timestamp;
use tracing::warn;

use super::Pipeline;
use crate::job::annotate::prevailing;
use crate::job::ledger::{Ledger, LedgerError};
use crate::job::machine::{Fact, Policy};
use crate::job::{Job, Plan, State, Transcript};

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
        warn!(job = %job.id, plugin = held.plugin, reason = held.reason, "held back until the plugin has looked at it");
        return ledger.postpone(job.id, Timestamp::now() + HELD).await;
    }
    // A transform may change the text of a final, never its kind.
    let Body::TranscriptFinal(event) = processed.event.body else { return Ok(()) };
    let fact = Fact::Piped { event: Box::new(event), emitted: processed.emitted };
    ledger.advance(job.id, fact, policy).await.map(drop)
}

fn final_of(plan: &Plan, transcript: &Transcript) -> TranscriptFinal {
    let value = |of: fn(&Segment) -> Option<&str>| prevailing(&transcript.segments, of);
    TranscriptFinal {
        engine: plan.engine,
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
