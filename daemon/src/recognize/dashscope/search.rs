//! The search in the task list: the only way to find the task of a submit whose answer was lost.
//!
//! A row does not name the file. Only the result of a task does, so a task is adopted when its result names the upload, and never because
//! it is the only one left: another client's transcript would be published.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tracing::{debug, warn};

use super::answers::{Status, TaskRow};
use super::client::Client;
use super::list::{List, MARGIN, everything};
use super::task;
use crate::job::Fate;
use crate::recognize::error::{Error, When};
use crate::recognize::{Lost, Polled, Resolution};

/// After this many tasks whose file cannot be found out now, a search pauses: while hosts are away, each fetch takes its whole timeout.
const MOST_FAILURES: u32 = 3;
/// The list is read again after this long; two looks of one search are further apart.
const FRESH: Duration = Duration::from_secs(4);
/// The service may list a task only this long after its submit was given up.
const LAG: Duration = Duration::from_secs(5);
/// Neither a task that never ends nor a list that is never answered may delay a recording for as long as the service remembers the task.
/// The service itself ends a task after three hours.
const LONGEST_DOUBT: SignedDuration = SignedDuration::from_hours(3);
/// For this long a list may lack a task that is known to exist.
const LONGEST_SHORT: SignedDuration = SignedDuration::from_secs(30);
/// The service forgets tasks and results after a day; from shortly before that, a task's absence from the list proves nothing.
const MEMORY: SignedDuration = SignedDuration::from_hours(23);
/// A query without an end is answered for one day only, and its time zone is not documented: a list need not contain tasks that were
/// created this much later than the query's begin.
const LONGEST_LIST: Duration = Duration::from_secs(12 * 3600);

/// Searches for lost tasks, and remembers what it learned.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The upload of each task, as its result named it. Results do not change, and every search looks at the same tasks.
    uploads: Mutex<HashMap<String, String>>,
    /// The list as it was read last: reading takes many pages, and after a network failure many searches follow each other.
    list: Mutex<Option<Arc<List>>>,
}

impl List {
    /// Whether this list is as good for a submit as a new one: a look that follows after a lag has to find the tasks that were created
    /// before.
    fn serves(&self, submit: &Lost<'_>, now: Timestamp) -> bool {
        let is_fresh = now.duration_since(self.asked_at).unsigned_abs() < FRESH;
        let is_later = submit.until.is_some_and(|until| until + LAG <= self.asked_at);
        is_fresh && is_later && (self.since..self.since + LONGEST_LIST).contains(&submit.since)
    }

    /// Whether the list lacks a task that was certainly created in its time: it is not documented whose tasks the service lists, nor how
    /// soon. If the service listed nothing for every query, the list would otherwise prove every lost submit absent, and each would be paid
    /// again without notice.
    fn lacks_known(&self, submit: &Lost<'_>) -> bool {
        let due = submit.since - MARGIN / 2..(self.asked_at - LAG).min(self.since + LONGEST_LIST);
        let listed: HashSet<&str> = self.rows.iter().map(|row| row.task_id.as_str()).collect();
        submit.known.iter().any(|(task, made)| due.contains(made) && !listed.contains(task.as_str()))
    }
}

impl Search {
    /// Above this number the memory is cleared; the tasks are fetched again when needed.
    const MOST: usize = 20_000;

    /// The task of an upload, if another search or a fetched result has found it.
    fn task_of(&self, object: &str) -> Option<String> {
        let uploads = self.uploads.lock();
        uploads.iter().find(|(_, file_url)| names(file_url, object)).map(|(task_id, _)| task_id.clone())
    }

    /// Remembers the file that a result named for its task.
    pub(super) fn learn(&self, task_id: &str, file_url: &str) {
        let mut uploads = self.uploads.lock();
        if uploads.len() >= Search::MOST {
            uploads.clear();
        }
        uploads.insert(task_id.to_owned(), file_url.to_owned());
    }

    /// What became of a submit whose answer was lost. A repeated request costs money, waiting does not.
    pub(super) async fn resolve(&self, client: &Client, submit: Lost<'_>) -> Result<Resolution, Error> {
        let now = Timestamp::now();
        let age = now.duration_since(submit.since);
        // The submit's time lies in the future: the clock was set back since.
        if age > MEMORY || (age.is_negative() && age.unsigned_abs() > MARGIN / 2) {
            return Ok(Resolution::Unknown);
        }
        if let Some(handle) = self.task_of(submit.marker) {
            return Ok(Resolution::Found { handle });
        }
        let waited = now.duration_since(submit.until.unwrap_or(submit.since));
        match self.look(client, &submit, waited).await {
            Ok(Resolution::Undecided) if waited > LONGEST_DOUBT => Ok(Resolution::Unknown),
            Err(error) if error.when == When::Never => Ok(Resolution::Unknown),
            // A network that is down, a bad key, a bill and a full queue pass, and the list answers afterwards.
            Err(error) if waited > LONGEST_DOUBT && matches!(error.when, When::Passed { .. }) => {
                warn!(%error, "the task list does not answer; the fate of a submit is unknown");
                Ok(Resolution::Unknown)
            }
            found => found,
        }
    }

    /// Looks for the task of a submit in the list: first among the tasks that were created at the time when the submit was sent.
    async fn look(
        &self,
        client: &Client,
        submit: &Lost<'_>,
        waited: SignedDuration,
    ) -> Result<Resolution, Error> {
        let list = self.list(client, submit).await?;
        let mut found = match list.lacks_known(submit) {
            // The list may have changed while it was read; if it still lacks the task after a while, the list proves nothing.
            true if waited <= LONGEST_SHORT => Resolution::Undecided,
            true => Resolution::Unknown,
            false if list.is_complete => Resolution::Absent,
            false => Resolution::Unknown,
        };
        let is_candidate = |row: &&TaskRow| {
            row.may_be(submit.model, submit.since, submit.until) && !submit.known.contains_key(&row.task_id)
        };
        let mut rows: Vec<&TaskRow> = list.rows.iter().filter(is_candidate).collect();
        rows.sort_by_key(|row| row.created().map(|created| created.duration_since(submit.since).abs()));
        let mut failures = 0;
        for row in rows {
            let of_row = match row.status {
                Status::Open => Resolution::Undecided,
                Status::Succeeded | Status::Failed => {
                    self.examine(client, &row.task_id, submit.marker).await.unwrap_or_else(|error| {
                        debug!(task = row.task_id, %error, "the file of this task cannot be found out now");
                        failures += 1;
                        Resolution::Undecided
                    })
                }
                // A task that ended in another way cost nothing and produced nothing, this daemon's or not.
                Status::Canceled | Status::Unknown => Resolution::Absent,
            };
            found = found.max(of_row);
            // The files that were found out are remembered for the next look.
            if matches!(found, Resolution::Found { .. }) || failures >= MOST_FAILURES {
                break;
            }
        }
        Ok(found)
    }

    /// Whether a task that has ended is the task of this upload.
    async fn examine(&self, client: &Client, task_id: &str, object: &str) -> Result<Resolution, Error> {
        if self.uploads.lock().get(task_id).is_some_and(|file_url| !names(file_url, object)) {
            return Ok(Resolution::Absent);
        }
        let result = match task::query(client, task_id).await? {
            Polled::Ready(ready) => task::result(client, &ready).await,
            // The list shows the end before the query does.
            Polled::Open => return Ok(Resolution::Undecided),
            // It may have been paid, and what it was for can never be known.
            Polled::Heard(_) => return Ok(Resolution::Unknown),
            Polled::Failed(error) => Err(error),
        };
        match result {
            Ok(file) => {
                self.learn(task_id, &file.file_url);
                Ok(match names(&file.file_url, object) {
                    true => Resolution::Found { handle: task_id.to_owned() },
                    false => Resolution::Absent,
                })
            }
            Err(error) => match error.fate {
                Fate::Taken | Fate::Unknown => Ok(Resolution::Unknown),
                // The task failed, produced nothing and cost nothing.
                Fate::Refused => Ok(Resolution::Absent),
                _ => Err(error),
            },
        }
    }

    /// The list from the submit's time on, as it was read last or newly read.
    async fn list(&self, client: &Client, submit: &Lost<'_>) -> Result<Arc<List>, Error> {
        let last = self.list.lock().clone();
        if let Some(last) = last.filter(|last| last.serves(submit, Timestamp::now())) {
            return Ok(last);
        }
        let list = Arc::new(everything(client, submit.since).await?);
        *self.list.lock() = Some(Arc::clone(&list));
        Ok(list)
    }
}

/// Whether a file's URL is the upload's: its path ends in the object's name.
fn names(file_url: &str, object: &str) -> bool {
    let path = file_url.split(['?', '#']).next().unwrap_or_default();
    let object = object.rsplit('/').next().unwrap_or(object);
    !object.is_empty()
        && path.strip_suffix(object).is_some_and(|rest| rest.ends_with(['/']) || rest.ends_with("%2F"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_serves_searches_to_which_a_new_one_would_add_nothing() {
        let time = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let list = List { since: time(100), asked_at: time(200), rows: Vec::new(), is_complete: true };
        let taken = HashMap::new();
        let submit = |since: i64, until: Option<i64>| Lost {
            model: "m",
            marker: "o",
            since: time(since),
            until: until.map(time),
            known: &taken,
        };
        assert!(list.serves(&submit(100, Some(195)), time(203)));
        assert!(!list.serves(&submit(99, Some(195)), time(203)), "it begins later");
        assert!(!list.serves(&submit(100, Some(196)), time(203)), "it may lag behind the submit");
        assert!(!list.serves(&submit(100, Some(195)), time(204)), "it is old");
        assert!(!list.serves(&submit(100, None), time(203)));
        let half_a_day = List { since: time(100 - 12 * 3600), ..list };
        assert!(
            !half_a_day.serves(&submit(100, Some(195)), time(203)),
            "the service need not have listed it"
        );
    }

    #[test]
    fn what_one_search_learned_another_need_not_look_for() {
        let search = Search::default();
        search.learn("task-1", "https://host/dir/a.wav?Signature=x");
        assert_eq!(search.task_of("a.wav").as_deref(), Some("task-1"));
        assert_eq!(search.task_of("b.wav"), None);
    }

    #[test]
    fn only_the_whole_name_at_the_end_is_ours() {
        let object = "0197-abc.wav";
        assert!(names("https://bucket.host/dir/0197-abc.wav?Expires=1&Signature=x", object));
        assert!(names("oss://dir/0197-abc.wav", object));
        assert!(names("oss://dir/0197-abc.wav", "dir/0197-abc.wav"));
        assert!(!names("oss://dir/x0197-abc.wav", object));
        assert!(!names("oss://dir/0197-abc.wav.part", object));
        assert!(!names("https://host/?file=/0197-abc.wav", object));
        assert!(!names("oss://dir/", ""));
    }
}
