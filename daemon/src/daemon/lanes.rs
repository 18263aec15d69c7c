//! The lanes of the duties, and how many tasks each has under way at a time.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use hark_sdk::event::Engine;
use tokio_util::sync::CancellationToken;

use super::sources::Sources;
use super::tasks::{EssentialTasks, Stages};
use crate::job::Duty;
use crate::job::ledger::LedgerError;
use crate::job::ledger::due::Lane;
use crate::share::Fence;
use crate::work::lane::{LaneLimits, Task};
use crate::work::{self, PieceTask, Tools};

/// Recordings that are probed at a time: the audio workers bound the cost.
const PREPARING: usize = 8;

/// Recordings that are cut at a time: each takes a core.
const CUTTING: usize = 2;

/// Transcripts that the plugins have at a time: enough to fill their queues.
const PIPING: usize = 64;

/// Jobs whose end is reported to their sources at a time.
const SETTLING: usize = 32;

/// The lanes. The lanes of a recognizer that the config no longer has go on for its remaining pieces.
pub(super) struct Lanes {
    tools: Tools,
    requests: CancellationToken,
    pipe: CancellationToken,
    /// The recognizers that have lanes.
    recognizers: HashSet<String>,
}

impl Lanes {
    /// Starts a lane for each duty that is owed to jobs, and those of the recognizers of the config. `unconfigured`: recognizers that have
    /// open pieces and are not in the config any more.
    pub fn start(
        tools: Tools,
        fence: Fence,
        sources: Sources,
        unconfigured: &[String],
        tasks: &mut EssentialTasks,
        stages: &Stages,
    ) -> Lanes {
        let tools = Tools { stop: stages.requests.clone(), ..tools };
        let ledger = &tools.ledger.clone();
        let width = |width: usize| {
            let in_force = tools.in_force.clone();
            move || LaneLimits { width, priorities: in_force.borrow().priorities.clone() }
        };
        let (settled, claims) = (tools.ledger.clone(), tools.claims.clone());

        let prepare = tools.clone();
        tasks.lane(ledger, Lane::of_jobs(Duty::Prepare), width(PREPARING), &stages.requests, move |task| {
            work::prepare::prepare(task.job, prepare.renewed())
        });
        let cut = tools.clone();
        tasks.lane(ledger, Lane::of_jobs(Duty::Cut), width(CUTTING), &stages.requests, move |task| {
            work::cut::cut(task.job, cut.renewed())
        });
        let objects = work::objects::discard_unneeded(tools.clone(), fence, stages.publish.clone());
        tasks.essential("objects", async { Ok(objects.await?) });
        let tasks_of_service = work::tasks::await_tasks(tools.clone());
        tasks.essential("await", async move { Ok(tasks_of_service.await?) });
        let pipe = tools.clone();
        tasks.lane(ledger, Lane::of_jobs(Duty::Pipe), width(PIPING), &stages.pipe, move |task| {
            work::pipe::pipe(task.job, pipe.renewed())
        });
        tasks.lane(ledger, Lane::of_jobs(Duty::Settle), width(SETTLING), &stages.settle, move |task| {
            sources.clone().settle(task.job, settled.clone(), claims.clone())
        });
        let (requests, pipe) = (stages.requests.clone(), stages.pipe.clone());
        let mut lanes = Lanes { tools, requests, pipe, recognizers: HashSet::new() };
        for name in unconfigured {
            lanes.of_recognizer(name, tasks);
        }
        lanes.of_recognizers(tasks);
        lanes
    }

    /// Starts the lanes of recognizers that have none yet.
    pub fn of_recognizers(&mut self, tasks: &mut EssentialTasks) {
        let settings = Arc::clone(&self.tools.in_force.borrow());
        for profile in settings.recognizers.profiles() {
            self.of_recognizer(profile.engine.as_str(), tasks);
        }
    }

    fn of_recognizer(&mut self, name: &str, tasks: &mut EssentialTasks) {
        if !self.recognizers.insert(name.to_owned()) {
            return;
        }
        let terms = |width: Option<usize>| {
            let (in_force, engine) = (self.tools.in_force.clone(), Engine::new(name));
            move || {
                let settings = in_force.borrow();
                let configured =
                    || settings.recognizers.get(&engine).map_or(1, |one| one.profile().concurrency);
                LaneLimits {
                    width: width.unwrap_or_else(configured),
                    priorities: settings.priorities.clone(),
                }
            }
        };
        let (tools, ledger) = (&self.tools, &self.tools.ledger);
        let send = of_pieces(tools, work::send::send);
        tasks.lane(ledger, Lane::of_pieces(Duty::Send, name), terms(None), &self.requests, send);
        let resolve = of_pieces(tools, work::resolve::resolve);
        tasks.lane(ledger, Lane::of_pieces(Duty::Resolve, name), terms(Some(1)), &self.requests, resolve);
        let pipe = of_pieces(tools, work::pipe::pipe_piece);
        tasks.lane(ledger, Lane::of_pieces(Duty::Pipe, name), terms(Some(PIPING)), &self.pipe, pipe);
    }
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
        Some(piece) => work(PieceTask { job, piece }, tools.renewed()).boxed(),
        None => std::future::ready(Ok(())).boxed(),
    }
}
