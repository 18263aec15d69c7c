//! Filetrans: a task is submitted, processed, queried, and its result fetched from the storage.

pub mod list;
pub mod query;
mod result;
pub mod submit;
mod work;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::service::Family;

/// All tasks that are known, by id. Ids are in the order of the submits.
pub struct Tasks {
    table: Mutex<BTreeMap<String, Task>>,
    /// Limits the downloads at once when a thousand tasks are submitted; the others wait as PENDING, as at the service.
    workers: Semaphore,
}

/// One task.
#[derive(Debug, Clone)]
pub struct Task {
    pub id: String,
    /// The id of the submit request.
    pub request_id: String,
    pub model: String,
    pub family: Family,
    pub file_url: String,
    pub state: State,
    pub submitted: Timestamp,
    pub scheduled: Option<Timestamp>,
    pub ended: Option<Timestamp>,
}

/// The state of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Pending,
    Running,
    Succeeded {
        url: String,
        seconds: u64,
    },
    Failed {
        code: String,
        message: String,
    },
    Canceled,
    /// The service accepted the task and later does not know it any more.
    Unknown,
}

impl Tasks {
    pub fn insert(&self, task: Task) {
        self.lock().insert(task.id.clone(), task);
    }

    pub fn get(&self, id: &str) -> Option<Task> {
        self.lock().get(id).filter(|task| task.state != State::Unknown).cloned()
    }

    /// All tasks, the newest first.
    pub fn newest_first(&self) -> Vec<Task> {
        self.lock().values().rev().filter(|task| task.state != State::Unknown).cloned().collect()
    }

    /// Changes the task if it is in the expected state. False if it is in another state, or does not exist.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Task) -> bool) -> bool {
        self.lock().get_mut(id).is_some_and(change)
    }

    /// Forgets the tasks that ended longer than `kept` ago.
    pub fn sweep(&self, kept: Duration) {
        let now = Timestamp::now();
        self.lock().retain(|_, task| task.ended.is_none_or(|ended| ended + kept > now));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Task>> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks { table: Mutex::default(), workers: Semaphore::new(WORKERS) }
    }
}

impl State {
    /// The state's name in the protocol.
    pub fn word(&self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Running => "RUNNING",
            State::Succeeded { .. } => "SUCCEEDED",
            State::Failed { .. } => "FAILED",
            State::Canceled => "CANCELED",
            State::Unknown => "UNKNOWN",
        }
    }
}

const WORKERS: usize = 64;
