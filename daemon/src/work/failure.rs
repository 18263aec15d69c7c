//! What the job machine makes of a recognizer's error.

use crate::job::{Consequence, Failure, Fate, Job};
use crate::recognize::{Error, Next, Tries};

/// Of a request that this job made.
pub(super) fn failure(error: Error, job: &Job) -> Failure {
    let next = error.next(Tries { failed: job.attempts, refused: job.refusals });
    let consequence = match (error.fate, next) {
        (_, Next::Never) => Consequence::GiveUp,
        (Fate::Open | Fate::Taken | Fate::Unknown, _) => Consequence::Unknown,
        (_, Next::After { wait, counts }) => Consequence::Retry { after: wait, counts },
        (_, Next::Held { wait, announce }) => Consequence::Hold { after: wait, announce },
    };
    let unsure = matches!(error.fate, Fate::MaybeForwarded | Fate::Taken);
    Failure { fault: error.fault, consequence, unsure }
}
