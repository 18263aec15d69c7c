//! Probes a recording and makes its plan. Costs nothing at the service.

use hark_sdk::event::{Blame, Fault, Recording};
use tracing::warn;

use super::Tools;
use crate::job::audio::{self, Unopened};
use crate::job::job_machine::Fact;
use crate::job::ledger::LedgerError;
use crate::job::{Job, Span};
use crate::recognize::route::{Facts, plan};

/// Carries out `Duty::Prepare`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn prepare(job: Job, tools: Tools) -> Result<(), LedgerError> {
    let mut recording = job.recording.clone();
    match look_inside(&job, &mut recording, &tools).await {
        Look::Done => {}
        Look::Unusable(fault) => {
            return tools
                .ledger
                .advance(job.id, Fact::Unusable { recording: Box::new(recording), fault })
                .await
                .map(drop);
        }
        Look::Unopened(unopened) => return tools.not_opened(&job, None, unopened).await,
        Look::NotNow(shortage) => {
            tools.wait_for_machine(shortage).await;
            return Ok(());
        }
    }
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

enum Look {
    Done,
    Unusable(Fault),
    Unopened(Unopened),
    NotNow(String),
}

async fn look_inside(job: &Job, recording: &mut Recording, tools: &Tools) -> Look {
    let Some(path) = audio::path(job, &tools.state_directory) else { return Look::Done };
    let (opened, folder) = (job.clone(), tools.state_directory.clone());
    let file = match tools.files.of(&job.source, move || audio::open(&opened, &folder)).await {
        Ok(Ok(file)) => file,
        Ok(Err(Unopened::Fault(fault))) => return Look::Unusable(fault),
        Ok(Err(unopened)) => return Look::Unopened(unopened),
        Err(hangs) => return Look::Unopened(Unopened::NotNow(hangs)),
    };
    let extension = recording
        .name
        .as_deref()
        .or(path.to_str())
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, tail)| tail);
    match tools.workers.probe(&file, extension).await {
        Ok(probe) => {
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
            Look::Done
        }
        // The fault is the daemon's, not the recording's: the job waits instead of failing.
        Err(error) if error.blame() == Blame::Hark => Look::NotNow(error.to_string()),
        Err(error) => {
            let name = recording.name.as_deref().unwrap_or("the recording");
            Look::Unusable(Fault {
                code: error.code().into(),
                blame: error.blame(),
                message: format!("{name}: {error}"),
                attempts: None,
            })
        }
    }
}
