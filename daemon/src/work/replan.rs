//! Plans jobs anew whose pieces wait for a later time, when the config gives them another plan. The lane of their recognizer does the same
//! with a piece that is due.

use jiff::Timestamp;

use super::Tools;
use crate::job::ledger::{LedgerError, pieces};

/// Looks at every such job once; `tools`: with the settings of the new config.
///
/// # Errors
/// When the ledger is closed or damaged.
pub async fn replan(tools: Tools) -> Result<(), LedgerError> {
    let now = Timestamp::now();
    let jobs = tools.ledger.read(move |connection| pieces::put_off(connection, now)).await?;
    for id in jobs {
        if tools.stop.is_cancelled() {
            break;
        }
        let Some(job) = tools.ledger.find(id).await? else { continue };
        if let (Some(plan), Ok(route)) = (&job.plan, tools.route(&job)) {
            tools.is_replanned(&job, plan, route).await?;
        }
    }
    Ok(())
}
