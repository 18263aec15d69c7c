//! The lanes of the duties, and how many tasks each has under way at a time.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::sources::Sources;
use super::tasks::{EssentialTasks, Stages};
use crate::job::Duty;
use crate::job::ledger::LedgerError;
use crate::job::ledger::due::Lane;
use crate::work::lane::Task;
use crate::work::{self, PieceTask, Tools};

/// Recordings that are probed at a time: the audio workers bound the cost.
const PREPARING: usize = 8;

/// Recordings that are cut at a time: each takes a core.
const CUTTING: usize = 2;

/// Transcripts that the plugins have at a time: enough to fill their queues.
const PIPING: usize = 64;

/// Jobs whose end is reported to their sources at a time.
const SETTLING: usize = 32;

/// Starts a lane for each duty, and for each duty of pieces one for each recognizer. `poll`: the first pause between two queries of a task.
/// `unconfigured`: recognizers that have open pieces and are not in the config any more.
pub(super) fn start_lanes(
    poll: Duration,
    tools: Tools,
    sources: Sources,
    unconfigured: &[String],
    tasks: &mut EssentialTasks,
    stages: &Stages,
) {
    let tools = Tools { stop: stages.requests.clone(), ..tools };
    let (ledger, priorities) = (&tools.ledger.clone(), &tools.priorities.clone());
    let (settled, claims) = (tools.ledger.clone(), tools.claims.clone());

    let prepare = tools.clone();
    tasks.lane(ledger, Lane::of_jobs(Duty::Prepare), PREPARING, priorities, &stages.requests, move |task| {
        work::prepare::prepare(task.job, prepare.clone())
    });
    let cut = tools.clone();
    tasks.lane(ledger, Lane::of_jobs(Duty::Cut), CUTTING, priorities, &stages.requests, move |task| {
        work::cut::cut(task.job, cut.clone())
    });
    let profiles = tools.recognizers.profiles();
    let configured = profiles.map(|profile| (profile.engine.as_str(), profile.concurrency));
    for (name, width) in configured.chain(unconfigured.iter().map(|name| (name.as_str(), 1))) {
        let send = of_pieces(&tools, work::send::send);
        tasks.lane(ledger, Lane::of_pieces(Duty::Send, name), width, priorities, &stages.requests, send);
        let resolve = of_pieces(&tools, work::resolve::resolve);
        tasks.lane(ledger, Lane::of_pieces(Duty::Resolve, name), 1, priorities, &stages.requests, resolve);
        let pipe = of_pieces(&tools, work::pipe::pipe_piece);
        tasks.lane(ledger, Lane::of_pieces(Duty::Pipe, name), PIPING, priorities, &stages.pipe, pipe);
    }
    let objects = work::objects::discard_unneeded(tools.clone(), stages.publish.clone());
    tasks.essential("objects", async { Ok(objects.await?) });
    let pipe = tools.clone();
    tasks.essential("await", async move { Ok(work::tasks::await_tasks(tools, poll).await?) });
    tasks.lane(ledger, Lane::of_jobs(Duty::Pipe), PIPING, priorities, &stages.pipe, move |task| {
        work::pipe::pipe(task.job, pipe.clone())
    });
    tasks.lane(ledger, Lane::of_jobs(Duty::Settle), SETTLING, priorities, &stages.settle, move |task| {
        sources.clone().settle(task.job, settled.clone(), claims.clone())
    });
}

/// The work of a lane of pieces. Every task of such a lane has a piece; a task without one is ignored.
fn of_pieces<F>(
    tools: &Tools,
    work: fn(PieceTask, Tools) -> F,
) -> impl Fn(Task) -> BoxFuture<'static, Result<(), LedgerError>> + Send + 'static
where
    F: Future<Output = Result<(), LedgerError>> + Send + 'static,
{
    let tools = tools.clone();
    move |Task { job, piece }| match piece {
        Some(piece) => work(PieceTask { job, piece }, tools.clone()).boxed(),
        None => std::future::ready(Ok(())).boxed(),
    }
}
