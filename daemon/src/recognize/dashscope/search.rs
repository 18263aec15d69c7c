//! The search in the task list: the one way to find a task again whose submit was not heard of.
//!
//! A row says nothing of the file. Only the result of a task does, so a task is adopted when its result names the upload, and
//! never because it is the only one left: a stranger's transcript would be published.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tracing::debug;

use super::answers::{Status, TaskRow};
use super::client::{Client, missing};
use super::filetrans;
use super::list::{Listed, MARGIN, everything};
use crate::job::Fate;
use crate::recognize::error::{Error, When};
use crate::recognize::pacer::Calls;
use crate::recognize::{Lost, Polled, Resolution};

/// Of a task that brought nothing and cost nothing.
const FOR_NOTHING: &str = "";
/// Answers that do not come in one look; with hosts that are away each takes its time.
const UNTOLD: u32 = 3;
/// A list is read again after this long; two looks of one search are further apart.
const FRESH: Duration = Duration::from_secs(4);
/// A task may be listed this long after its submit was given up.
const LAG: Duration = Duration::from_secs(5);
/// A task that somebody else's program never lets end must not keep a recording waiting for as long as the service remembers. The service
/// ends a task of its own after three hours.
const LONGEST_DOUBT: Duration = Duration::from_secs(3 * 3600);
/// As long may a task that has ended by the list not be there, or its result: one of them lags behind, or a gateway's page is in its place.
const LONGEST_HIDDEN: Duration = Duration::from_secs(300);
/// As long may a list not show a task that is known.
const LONGEST_SHORT: Duration = Duration::from_secs(30);
/// After a day the service forgets tasks and results; shortly before, absence begins to mean nothing.
const MEMORY: Duration = Duration::from_secs(23 * 3600);

/// What searches found out, for those that follow.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Which upload each task was for, as its result told. Results do not change, and every ambiguous job looks at the same ones.
    uploads: Mutex<HashMap<String, String>>,
    /// The list as it was read last: it takes many pages, and after a bad minute of the network many jobs look for theirs.
    list: Mutex<Option<Arc<List>>>,
}

/// The list from some time on.
#[derive(Debug)]
struct List {
    since: Timestamp,
    /// Not after it was written.
    asked_at: Timestamp,
    listed: Listed,
}

/// Without an end in the question the service may answer for a day only, and its zone is not documented: of what was made so much later
/// than the question's beginning, a list need not tell.
const LONGEST_LIST: Duration = Duration::from_secs(12 * 3600);

impl List {
    /// Whether it tells of a submit what another one would: a look that comes after a lag has to find what was made before.
    fn serves(&self, submit: &Lost<'_>, now: Timestamp) -> bool {
        let is_fresh = now.duration_since(self.asked_at).unsigned_abs() < FRESH;
        let is_later = submit.until.is_some_and(|until| until + LAG <= self.asked_at);
        let later = submit.since.duration_since(self.since);
        let is_in_it = !later.is_negative() && later.unsigned_abs() < LONGEST_LIST;
        is_fresh && is_later && is_in_it
    }

    /// Whether a task that was certainly made in its time is not in it: it is not documented whose tasks the service lists, and how
    /// soon. A list that is empty whatever is asked would otherwise prove every lost submit absent, and each would be paid again in
    /// silence.
    fn lacks_known(&self, submit: &Lost<'_>) -> bool {
        let begin = submit.since - MARGIN / 2;
        let end = (self.asked_at - LAG).min(self.since + LONGEST_LIST);
        let is_due = |made: Timestamp| (begin..end).contains(&made);
        let shown: HashSet<&str> = self.listed.rows.iter().map(|row| row.task_id.as_str()).collect();
        submit.known.iter().any(|(task, made)| is_due(*made) && !shown.contains(task.as_str()))
    }
}

impl Known {
    /// Above this the oldest are not worth finding; they are looked up again.
    const MOST: usize = 20_000;

    fn get(&self, task_id: &str) -> Option<String> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(task_id).cloned()
    }

    /// The task of an upload, where some other job's search has met it.
    fn task_of(&self, object: &str) -> Option<String> {
        let known = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(_, file_url)| names(file_url, object)).map(|(task_id, _)| task_id.clone())
    }

    pub(super) fn learn(&self, task_id: &str, file_url: &str) {
        let mut known = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Known::MOST {
            known.clear();
        }
        known.insert(task_id.to_owned(), file_url.to_owned());
    }
}

/// Who looks for a task: over this connection, at this pace, with what searches found out before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) client: &'a Client,
    pub(super) queries: &'a Calls,
    pub(super) known: &'a Known,
}

impl Search<'_> {
    /// Looks for the task of a submit: first at those that were made when it was sent.
    pub(super) async fn resolve(self, submit: Lost<'_>) -> Result<Resolution, Error> {
        let age = Timestamp::now().duration_since(submit.since);
        // A time that is still to come was told by a clock that has been set since.
        if age.unsigned_abs() > MEMORY || (age.is_negative() && age.unsigned_abs() > MARGIN / 2) {
            return Ok(Resolution::Unknown);
        }
        if let Some(task_id) = self.known.task_of(submit.marker) {
            return Ok(Resolution::Found { handle: task_id });
        }
        let list = match self.list(&submit).await {
            Ok(list) => list,
            // A service without a list will not have one tomorrow.
            Err(error) if error.when == When::Never || error.is_unreadable() => {
                return Ok(Resolution::Unknown);
            }
            Err(error) => return Err(error),
        };
        let mut doubts = Doubts {
            // It may have been read while it changed; one that stays short is none that tells.
            is_short: list.lacks_known(&submit),
            cannot_tell: !list.listed.is_complete,
            ..Doubts::default()
        };
        if let Some(task_id) = self.look_through(&list.listed, &submit, &mut doubts).await {
            return Ok(Resolution::Found { handle: task_id });
        }
        let waited = Timestamp::now().duration_since(submit.until.unwrap_or(submit.since)).unsigned_abs();
        Ok(doubts.judge(waited))
    }

    /// The task of a submit among those of a list; or why it may be there all the same.
    async fn look_through(self, listed: &Listed, submit: &Lost<'_>, doubts: &mut Doubts) -> Option<String> {
        let may_be = |row: &&TaskRow| row.may_be(submit.model, submit.since, submit.until);
        let mut rows: Vec<&TaskRow> = listed.rows.iter().filter(may_be).collect();
        rows.sort_by_key(|row| row.created().map(|created| created.duration_since(submit.since).abs()));
        let mut untold = 0;
        for row in rows.into_iter().filter(|row| !submit.known.contains_key(&row.task_id)) {
            match row.status {
                Status::Succeeded | Status::Failed => match self.file_of(&row.task_id).await {
                    Ok(Some(file_url)) if names(&file_url, submit.marker) => {
                        return Some(row.task_id.clone());
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => doubts.cannot_tell = true,
                    Err(error) if is_hidden(&error) => {
                        debug!(task = row.task_id, %error, "this task, or its result, is not there");
                        doubts.hidden = true;
                    }
                    // One that is not told now is told the next time; the others are known by then.
                    Err(error) => {
                        debug!(task = row.task_id, %error, "it is not told what this task was for");
                        (doubts.undecided, untold) = (true, untold + 1);
                    }
                },
                // Ours or a stranger's, they cost nothing and bring nothing.
                _ if row.has_ended() => {}
                _ => doubts.undecided = true,
            }
            // The next ones would wait for the same.
            if untold >= UNTOLD {
                break;
            }
        }
        None
    }

    /// The list from the submit's time on, as it was read last or as it is now.
    async fn list(self, submit: &Lost<'_>) -> Result<Arc<List>, Error> {
        let last = self.known.list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(last) = last.filter(|last| last.serves(submit, Timestamp::now())) {
            return Ok(last);
        }
        let asked_at = Timestamp::now();
        let since = submit.since;
        let listed = everything(self.client, self.queries, since).await?;
        let list = Arc::new(List { since, asked_at, listed });
        *self.known.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&list));
        Ok(list)
    }

    /// The file that a task was for, or [`FOR_NOTHING`]; `None` if it may have been paid and can never be told.
    async fn file_of(self, task_id: &str) -> Result<Option<String>, Error> {
        if let Some(file_url) = self.known.get(task_id) {
            return Ok(Some(file_url));
        }
        let file_url = match self.queries.free(filetrans::query(self.client, task_id)).await? {
            Polled::Ready(ready) => filetrans::result(self.client, &ready).await?.file_url,
            Polled::Heard(_) => return Ok(None),
            Polled::Failed(error) => match error.fate {
                Fate::Unknown => return Err(error),
                Fate::Taken => return Ok(None),
                _ => FOR_NOTHING.to_owned(),
            },
            // The list is ahead of it.
            Polled::Open => {
                let error = missing("end of a task that has ended by the list");
                return Err(Error { fate: Fate::Unknown, ..error });
            }
        };
        self.known.learn(task_id, &file_url);
        Ok(Some(file_url))
    }
}

/// Whether a task, its end or its result is not there, or is a gateway's page, though the list has it as ended.
fn is_hidden(error: &Error) -> bool {
    matches!(error.fate, Fate::Unknown | Fate::Taken)
}

/// What keeps a search that found nothing from saying that there is no task.
#[derive(Debug, Default)]
struct Doubts {
    /// The list does not show a task that it must have.
    is_short: bool,
    /// A task runs, or it is not told now what it was for.
    undecided: bool,
    /// A task has ended by the list, and it or its result is not there.
    hidden: bool,
    /// It will never be told.
    cannot_tell: bool,
}

impl Doubts {
    /// What they come to, so long after the submit was given up. A repeat costs money, waiting does not; and no task of the service's
    /// runs for ever.
    fn judge(self, waited: Duration) -> Resolution {
        let is_open = self.is_short || self.undecided || (self.hidden && waited < LONGEST_HIDDEN);
        match () {
            () if self.is_short && waited > LONGEST_SHORT => Resolution::Unknown,
            () if is_open && waited < LONGEST_DOUBT => Resolution::Undecided,
            () if is_open || self.hidden || self.cannot_tell => Resolution::Unknown,
            () => Resolution::Absent,
        }
    }
}

/// Whether a file's URL is that of the upload: its path ends in the object's name.
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
        let known = Known::default();
        known.learn("task-1", "https://host/dir/a.wav?Signature=x");
        assert_eq!(known.task_of("a.wav").as_deref(), Some("task-1"));
        assert_eq!(known.task_of("b.wav"), None);
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
