//! Probes a recording and makes its plan. Costs nothing at the service.

use hark_sdk::event::Recording;
use tracing::warn;

use super::recordings::unusable;
use super::{Tools, probed};
use crate::job::audio::{self, Unopened};
use crate::job::job_machine::Fact;
use crate::job::ledger::LedgerError;
use crate::job::{Job, Origin, Span};
use crate::recognize::route::{Facts, plan};

/// Carries out `Duty::Prepare`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn prepare(job: Job, tools: Tools) -> Result<(), LedgerError> {
    let Some(job) = tools.with_bytes(job, None).await? else { return Ok(()) };
    let (recording, facts) = match look_inside(&job, &tools).await {
        Ok(found) => found,
        Err(unopened) => return tools.not_opened(&job, None, unopened).await,
    };
    let route = tools.route(&job);
    let planned = route.clone().and_then(|route| plan(&facts, route, tools.settings.recognizers.offers()));
    if route.is_ok()
        && planned.is_err()
        && matches!(job.origin, Origin::Url { .. })
        && recording.format.is_some()
    {
        // No engine takes this audio by URL. On this machine it can be cut into pieces.
        let Some(job) = tools.fetch(job, None).await? else { return Ok(()) };
        return Box::pin(prepare(job, tools)).await;
    }
    let recording = Box::new(recording);
    // A context that is too long, or a language that the model does not take, is an error before anything is spent.
    let planned = planned.and_then(|plan| tools.hints(&job, route?, &plan).map(|_| plan));
    let fact = match planned {
        Ok(plan) => {
            let spans = vec![Span::whole(recording.duration_ms)];
            Fact::Prepared { recording, plan, spans }
        }
        Err(fault) => Fact::Unusable { recording, fault },
    };
    tools.ledger.advance(job.id, fact).await.map(drop)
}

/// The recording with what a look into its audio tells, and the facts that decide its plan; as it is, if there is no audio to look into.
async fn look_inside(job: &Job, tools: &Tools) -> Result<(Recording, Facts), Unopened> {
    if let Origin::Url { url } = &job.origin {
        return tools.looked_into(job, url).await;
    }
    if audio::path(job, &tools.state_directory).is_none() {
        return Ok((job.recording.clone(), Facts::of(&job.recording, &job.origin)));
    }
    let file = tools.open(job).await?;
    let probe = tools.workers.probe(&file, job.extension()).await.map_err(|error| unusable(job, &error))?;
    let recording = probed::recording(job.recording.clone(), &probe);
    if probe.truncated {
        warn!(
            job = %job.id,
            source = job.source,
            name = recording.name,
            "the recording is shorter than its header says and is recognized as far as it goes; check that it was copied whole"
        );
    }
    tools.files.keep(job.id, file);
    let facts = probed::facts(Facts::of(&recording, &job.origin), probe);
    Ok((recording, facts))
}
