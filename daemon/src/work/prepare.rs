//! Probes a recording and makes its plan. Costs nothing at the service.

use std::io;

use hark_sdk::event::{Blame, Recording};
use tracing::warn;

use super::Tools;
use crate::job::audio::{self, Unopened};
use crate::job::job_machine::Fact;
use crate::job::ledger::LedgerError;
use crate::job::{Job, Span, fault};
use crate::recognize::route::{Facts, plan};

/// Carries out `Duty::Prepare`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn prepare(job: Job, tools: Tools) -> Result<(), LedgerError> {
    let Some(job) = tools.with_bytes(job, None).await? else { return Ok(()) };
    let recording = match look_inside(&job, &tools).await {
        Ok(recording) => recording,
        Err(unopened) => return tools.not_opened(&job, None, unopened).await,
    };
    let facts = Facts::of(&recording, &job.origin);
    let planned = tools.route(&job).and_then(|route| plan(&facts, route, tools.recognizers.offers()));
    let recording = Box::new(recording);
    let fact = match planned {
        Ok(plan) => {
            let spans = vec![Span::whole(recording.duration_ms)];
            Fact::Prepared { recording, plan, spans }
        }
        Err(fault) => Fact::Unusable { recording, fault },
    };
    tools.ledger.advance(job.id, fact).await.map(drop)
}

/// The recording with what a look into its audio tells; as it is, if there is no audio on this machine.
async fn look_inside(job: &Job, tools: &Tools) -> Result<Recording, Unopened> {
    let mut recording = job.recording.clone();
    let Some(path) = audio::path(job, &tools.state_directory) else { return Ok(recording) };
    let (opened, folder) = (job.clone(), tools.state_directory.clone());
    let open = move || audio::open(&opened, &folder);
    let file = tools.files.of(&job.source, open).await.map_err(Unopened::NotNow)??;
    let name = recording.name.as_deref().or(path.to_str());
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, tail)| tail);
    let probe = tools.workers.probe(&file, extension).await.map_err(|error| match error.blame() {
        // The fault is the daemon's, not the recording's: the job waits instead of failing.
        Blame::Hark => Unopened::NotNow(io::Error::other(error.to_string())),
        blame => {
            let name = recording.name.as_deref().unwrap_or("the recording");
            Unopened::Fault(fault(error.code(), blame, format!("{name}: {error}")))
        }
    })?;
    recording.format = Some(probe.format);
    recording.duration_ms = probe.duration_ms;
    recording.channels = probe.channels;
    recording.truncated = probe.truncated;
    if probe.truncated {
        warn!(
            job = %job.id,
            source = job.source,
            name = recording.name,
            "the recording is shorter than its header says and is recognized as far as it goes; check that it was copied whole"
        );
    }
    tools.files.keep(job.id, file);
    Ok(recording)
}
