//! How hundreds of tasks stand, heard from the task list: a page of it tells of a hundred, which one by one would take five seconds of
//! the account's queries. What has ended by the list is asked for itself at once; what runs, less often.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use hark_sdk::event::Engine;
use jiff::Timestamp;
use tracing::{debug, warn};

use crate::recognize::{Next, Tries};
use crate::work::Tools;

/// Below this, tasks are asked one by one.
pub(super) const MANY: usize = 64;

/// From one look into the list to the next. A thousand tasks that end together take fifty-three seconds to be asked for themselves, and a goal is to
/// notice each end within a minute; ten pages in so long are a tenth of the account's queries.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// With so many tasks that have ended by the list and wait to be asked there is nothing that another look would add: they take five seconds.
pub(super) const ENOUGH: usize = 100;

/// Where the service has no list, it is not asked for one more often than this.
const NO_LIST: Duration = Duration::from_secs(3600);

/// A task to look for.
pub(super) struct Listing {
    pub(super) task_id: String,
    pub(super) recognizer: String,
    pub(super) model: String,
    /// Not after it was made.
    pub(super) since: Timestamp,
}

/// What the list says.
pub(super) struct Hints {
    /// Whether they have ended, by task; those that the list did not show are missing.
    pub(super) ended: HashMap<String, bool>,
    /// Not after the list was written.
    pub(super) asked_at: Timestamp,
    /// When to ask next.
    pub(super) again: Duration,
}

/// Reads the list once for all of them.
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
                // A list that is not understood today will not be in a minute.
                hints.again = match error.next(Tries::default()) {
                    Next::After { wait, .. } | Next::Held { wait, .. } => wait.max(INTERVAL),
                    Next::Never => NO_LIST,
                };
            }
        }
    }
    hints
}
