//! Looks inside a recording and makes its plan. Costs nothing at the service.

use std::time::Duration;

use hark_sdk::event::{Blame, Fault, Recording};

use super::Surroundings;
use crate::job::ledger::LedgerError;
use crate::job::machine::Fact;
use crate::job::{Consequence, Failure, Job, Origin, audio};
use crate::recognize::route::{Facts, plan};

/// Our own trouble (no process to be had) may pass; the next look comes this much later.
const AFTER_OUR_FAULT: Duration = Duration::from_secs(5);

/// Carries out `Duty::Prepare`.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn prepare(job: Job, around: Surroundings) -> Result<(), LedgerError> {
    let mut recording = job.recording.clone();
    match look_inside(&job, &mut recording, &around).await {
        Look::Done => {}
        Look::Unusable(fault) => {
            return around.advance(&job, Fact::Unusable { recording: Box::new(recording), fault }).await;
        }
        Look::NotNow(failure) => {
            return around.advance(&job, Fact::Failed { failure, billed_seconds: 0, revision: 0 }).await;
        }
    }
    let facts = Facts {
        format: recording.format.clone(),
        duration_ms: recording.duration_ms,
        bytes: recording.bytes,
        is_url: matches!(job.origin, Origin::Url { .. }),
    };
    let planned = around.route(&job).and_then(|route| plan(&facts, route, &around.offer));
    let recording = Box::new(recording);
    let fact = match planned {
        Ok(plan) => Fact::Prepared { recording, plan },
        Err(fault) => Fact::Unusable { recording, fault },
    };
    around.advance(&job, fact).await
}

enum Look {
    Done,
    Unusable(Fault),
    NotNow(Failure),
}

async fn look_inside(job: &Job, recording: &mut Recording, around: &Surroundings) -> Look {
    let Some(path) = audio::path(job, &around.state_directory) else { return Look::Done };
    let file = match audio::open(job, &around.state_directory) {
        Ok(file) => file,
        Err(fault) => return Look::Unusable(fault),
    };
    let extension = recording
        .name
        .as_deref()
        .or(path.to_str())
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, tail)| tail);
    match around.workers.probe(&file, extension).await {
        Ok(probe) => {
            recording.format = Some(probe.format);
            recording.duration_ms = probe.duration_ms;
            recording.channels = probe.channels;
            Look::Done
        }
        Err(error) => {
            let name = recording.name.as_deref().unwrap_or("the recording");
            let fault = Fault {
                code: error.code().into(),
                blame: error.blame(),
                message: format!("{name}: {error}"),
                attempts: None,
            };
            match error.blame() {
                Blame::Hark => Look::NotNow(Failure {
                    fault,
                    consequence: Consequence::Retry { after: AFTER_OUR_FAULT, counts: true },
                }),
                _ => Look::Unusable(fault),
            }
        }
    }
}
