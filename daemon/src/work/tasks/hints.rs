//! The state of many tasks, read from the task list: one page shows a hundred tasks, and polling these one by one would take five seconds
//! of the account's queries. A task that the list shows as ended is polled at once; a task that the list shows as running, less often.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use hark_sdk::event::Engine;
use jiff::Timestamp;
use tracing::{debug, warn};

use crate::recognize::{Next, Tries};
use crate::work::Tools;

/// Below this number, tasks are polled one by one, without the list.
pub(super) const MANY: usize = 64;

/// Pause between two reads of the list. Polling a thousand tasks that end together takes fifty-three seconds, and the goal is to notice each
/// end within a minute; ten pages per interval are a tenth of the account's queries.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// While this many tasks that the list shows as ended wait to be polled, the list is not read again: polling them takes five seconds, so
/// another read would gain nothing.
pub(super) const ENOUGH: usize = 100;

/// How long the list is not read again after the service answered that it has none.
const NO_LIST: Duration = Duration::from_secs(3600);

/// A task to look for.
pub(super) struct Listing {
    pub(super) task_id: String,
    pub(super) recognizer: String,
    pub(super) model: String,
    /// A time at or before the task's creation.
    pub(super) since: Timestamp,
}

/// What the list shows.
pub(super) struct Hints {
    /// Whether a task has ended, by task id. Tasks that the list did not show are absent.
    pub(super) ended: HashMap<String, bool>,
    /// When the list was requested, so no later than its contents.
    pub(super) asked_at: Timestamp,
    /// After what pause to read the list next.
    pub(super) again: Duration,
}

/// Reads the list once for all of these tasks.
pub(super) async fn hints(tools: Tools, tasks: Vec<Listing>) -> Hints {
    let mut hints = Hints { ended: HashMap::new(), asked_at: Timestamp::now(), again: INTERVAL };
    let mut by_model: BTreeMap<(String, String), (Timestamp, HashSet<String>)> = BTreeMap::new();
    for Listing { task_id, recognizer, model, since } in tasks {
        let (first, tasks) = by_model.entry((recognizer, model)).or_insert_with(|| (since, HashSet::new()));
        *first = since.min(*first);
        tasks.insert(task_id);
    }
    for ((recognizer, model), (since, tasks)) in by_model {
        let Some(recognizer) = tools.recognizers.get(&Engine::new(recognizer)) else { continue };
        match recognizer.ended(&model, since, &tasks).await {
            Ok(ended) => {
                debug!(model, tasks = tasks.len(), listed = ended.len(), "the task list was read");
                hints.ended.extend(ended);
            }
            Err(error) => {
                warn!(model, %error, "the task list does not answer; tasks are asked one by one");
                // A list that cannot be parsed now cannot be parsed in a minute either.
                hints.again = match error.next(Tries::default()) {
                    Next::After { wait, .. } | Next::Held { wait, .. } => wait.max(INTERVAL),
                    Next::Never => NO_LIST,
                };
            }
        }
    }
    hints
}
