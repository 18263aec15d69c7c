//! The search in the task list: the only way to find the task of a submit whose answer was lost.
//!
//! A row does not name the file. Only the result of a task does, so a task is adopted when its result names the upload, and never because
//! it is the only one left: another client's transcript would be published.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, warn};

use super::answers::{Status, TaskRow};
use super::client::{Client, missing};
use super::list::{Listed, MARGIN, everything};
use super::silence::Silence;
use super::{filetrans, silence};
use crate::job::Fate;
use crate::recognize::error::{Error, When};
use crate::recognize::{Lost, Polled, Resolution};

/// After this many results that cannot be fetched, a search pauses: while hosts are away, each fetch takes its whole timeout.
const UNTOLD: u32 = 3;
/// The list is read again after this long; two looks of one search are further apart.
const FRESH: Duration = Duration::from_secs(4);
/// The service may list a task only this long after its submit was given up.
const LAG: Duration = Duration::from_secs(5);
/// A task that never ends must not delay a recording for as long as the service remembers the task. The service itself ends a task after
/// three hours.
const LONGEST_DOUBT: Duration = Duration::from_secs(3 * 3600);
/// For this long a list may lack a task that is known to exist.
const LONGEST_SHORT: Duration = Duration::from_secs(30);
/// The service forgets tasks and results after a day; from shortly before that, a task's absence from the list proves nothing.
const MEMORY: Duration = Duration::from_secs(23 * 3600);

/// Searches for lost tasks, and remembers what it learned.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The upload of each task, as its result named it. Results do not change, and every search looks at the same tasks.
    uploads: Mutex<HashMap<String, String>>,
    /// The list as it was read last: reading takes many pages, and after a network failure many searches follow each other.
    list: Mutex<Option<Arc<List>>>,
    silence: Silence,
}

/// What a task recognized.
enum Upload {
    /// This file, by the service's URL.
    Of(String),
    /// The task produced nothing and cost nothing.
    Nothing,
    /// The task may have been paid, and its file can never be known.
    Untold,
}

/// The list from a time on.
#[derive(Debug)]
struct List {
    since: Timestamp,
    /// Not after the list was read.
    asked_at: Timestamp,
    listed: Listed,
}

/// A query without an end may be answered for one day only, and its time zone is not documented: a list need not contain tasks that were
/// created this much later than the query's begin.
const LONGEST_LIST: Duration = Duration::from_secs(12 * 3600);

impl List {
    /// Whether this list is as good for a submit as a new one: a look that follows after a lag has to find the tasks that were created
    /// before.
    fn serves(&self, submit: &Lost<'_>, now: Timestamp) -> bool {
        let is_fresh = now.duration_since(self.asked_at).unsigned_abs() < FRESH;
        let is_later = submit.until.is_some_and(|until| until + LAG <= self.asked_at);
        let later = submit.since.duration_since(self.since);
        let is_in_it = !later.is_negative() && later.unsigned_abs() < LONGEST_LIST;
        is_fresh && is_later && is_in_it
    }

    /// Whether the list lacks a task that was certainly created in its time: it is not documented whose tasks the service lists, nor how
    /// soon. If the service listed nothing for every query, the list would otherwise prove every lost submit absent, and each would be paid
    /// again without notice.
    fn lacks_known(&self, submit: &Lost<'_>) -> bool {
        let begin = submit.since - MARGIN / 2;
        let end = (self.asked_at - LAG).min(self.since + LONGEST_LIST);
        let is_due = |made: Timestamp| (begin..end).contains(&made);
        let shown: HashSet<&str> = self.listed.rows.iter().map(|row| row.task_id.as_str()).collect();
        submit.known.iter().any(|(task, made)| is_due(*made) && !shown.contains(task.as_str()))
    }
}

impl Search {
    /// Above this number the memory is cleared; the tasks are fetched again when needed.
    const MOST: usize = 20_000;

    /// The task of an upload, if another search or a fetched result has found it.
    fn task_of(&self, object: &str) -> Option<String> {
        let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.iter().find(|(_, file_url)| names(file_url, object)).map(|(task_id, _)| task_id.clone())
    }

    /// Remembers the file that a result named for its task.
    pub(super) fn learn(&self, task_id: &str, file_url: &str) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if uploads.len() >= Search::MOST {
            uploads.clear();
        }
        uploads.insert(task_id.to_owned(), file_url.to_owned());
    }

    /// What became of a submit whose answer was lost.
    pub(super) async fn resolve(&self, client: &Client, submit: Lost<'_>) -> Result<Resolution, Error> {
        let begun = Timestamp::now();
        let found = self.look(client, submit).await;
        let silent = self.silence.after(found.as_ref().err());
        let waited = begun.duration_since(submit.until.unwrap_or(submit.since)).unsigned_abs();
        match found {
            Err(error) if waited.min(silent) > silence::LONGEST => {
                warn!(%error, "the task list does not answer; the fate of a submit is unknown");
                Ok(Resolution::Unknown)
            }
            found => found,
        }
    }

    /// Searches for the task of a submit: first among those created at the time when the submit was sent.
    async fn look(&self, client: &Client, submit: Lost<'_>) -> Result<Resolution, Error> {
        let age = Timestamp::now().duration_since(submit.since);
        // The submit's time lies in the future: the clock was set back since.
        if age.unsigned_abs() > MEMORY || (age.is_negative() && age.unsigned_abs() > MARGIN / 2) {
            return Ok(Resolution::Unknown);
        }
        if let Some(task_id) = self.task_of(submit.marker) {
            return Ok(Resolution::Found { handle: task_id });
        }
        let list = match self.list(client, &submit).await {
            Ok(list) => list,
            // A service that has no list now will not have one later.
            Err(error) if error.when == When::Never || error.is_unreadable() => {
                return Ok(Resolution::Unknown);
            }
            Err(error) => return Err(error),
        };
        let mut doubts = Doubts {
            // The list may have changed while it was read; if it still lacks the task after a while, the list proves nothing.
            is_short: list.lacks_known(&submit),
            cannot_tell: !list.listed.is_complete,
            ..Doubts::default()
        };
        if let Some(task_id) = self.look_through(client, &list.listed, &submit, &mut doubts).await {
            return Ok(Resolution::Found { handle: task_id });
        }
        let waited = Timestamp::now().duration_since(submit.until.unwrap_or(submit.since)).unsigned_abs();
        Ok(doubts.judge(waited))
    }

    /// The task of a submit among the rows of a list; or why it may exist nevertheless.
    async fn look_through(
        &self,
        client: &Client,
        listed: &Listed,
        submit: &Lost<'_>,
        doubts: &mut Doubts,
    ) -> Option<String> {
        let may_be = |row: &&TaskRow| row.may_be(submit.model, submit.since, submit.until);
        let mut rows: Vec<&TaskRow> = listed.rows.iter().filter(may_be).collect();
        rows.sort_by_key(|row| row.created().map(|created| created.duration_since(submit.since).abs()));
        let mut untold = 0;
        for row in rows.into_iter().filter(|row| !submit.known.contains_key(&row.task_id)) {
            match row.status {
                Status::Succeeded | Status::Failed => match self.upload_of(client, &row.task_id).await {
                    Ok(Upload::Of(file_url)) if names(&file_url, submit.marker) => {
                        return Some(row.task_id.clone());
                    }
                    Ok(Upload::Of(_) | Upload::Nothing) => {}
                    Ok(Upload::Untold) => doubts.cannot_tell = true,
                    Err(error) if error.fate == Fate::Taken => {
                        debug!(task = row.task_id, %error, "the result of this task is not to be had");
                        doubts.cannot_tell = true;
                    }
                    // A result that cannot be fetched now is fetched in the next look; the others are remembered by then.
                    Err(error) => {
                        debug!(task = row.task_id, %error, "it is not told what this task was for");
                        (doubts.undecided, untold) = (true, untold + 1);
                    }
                },
                // A task that ended without a result cost nothing and produced nothing, whether it is this daemon's or another client's.
                _ if row.has_ended() => {}
                _ => doubts.undecided = true,
            }
            // Fetching the next results would take the same time.
            if untold >= UNTOLD {
                break;
            }
        }
        None
    }

    /// The list from the submit's time on, as it was read last or newly read.
    async fn list(&self, client: &Client, submit: &Lost<'_>) -> Result<Arc<List>, Error> {
        let last = self.list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(last) = last.filter(|last| last.serves(submit, Timestamp::now())) {
            return Ok(last);
        }
        let asked_at = Timestamp::now();
        let since = submit.since;
        let listed = everything(client, since).await?;
        let list = Arc::new(List { since, asked_at, listed });
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&list));
        Ok(list)
    }

    async fn upload_of(&self, client: &Client, task_id: &str) -> Result<Upload, Error> {
        let known = self.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(task_id).cloned();
        if let Some(file_url) = known {
            return Ok(Upload::Of(file_url));
        }
        match filetrans::query(client, task_id).await? {
            Polled::Ready(ready) => {
                let file_url = filetrans::result(client, &ready).await?.file_url;
                self.learn(task_id, &file_url);
                Ok(Upload::Of(file_url))
            }
            Polled::Heard(_) => Ok(Upload::Untold),
            Polled::Failed(error) => match error.fate {
                Fate::Taken | Fate::Unknown => Ok(Upload::Untold),
                _ => Ok(Upload::Nothing),
            },
            // The list shows the end before the query does.
            Polled::Open => Err(missing("end of a task that has ended by the list")),
        }
    }
}

/// The reasons why a search that found nothing does not prove that there is no task.
#[derive(Debug, Default)]
struct Doubts {
    /// The list lacks a task that it should contain.
    is_short: bool,
    /// A task is still running, or its result cannot be fetched now.
    undecided: bool,
    /// The file of a task can never be known.
    cannot_tell: bool,
}

impl Doubts {
    /// The result of the search, this long after the submit was given up. A repeated request costs money, waiting does not; and the service
    /// lets no task run for ever.
    fn judge(self, waited: Duration) -> Resolution {
        let is_open = self.is_short || self.undecided;
        match () {
            () if self.is_short && waited > LONGEST_SHORT => Resolution::Unknown,
            () if is_open && waited < LONGEST_DOUBT => Resolution::Undecided,
            () if is_open || self.cannot_tell => Resolution::Unknown,
            () => Resolution::Absent,
        }
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
    fn a_list_serves_searches_that_another_one_would_tell_no_more() {
        let time = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let listed = Listed { rows: Vec::new(), is_complete: true };
        let list = List { since: time(100), asked_at: time(200), listed };
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
            "the service need not have told of it"
        );
    }

    #[test]
    fn what_one_search_met_another_need_not_look_for() {
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
