//! The search in the task list: the only way to find a task again whose submit was not heard of.
//!
//! A row says nothing of the file. Only the result of a task does, so a task is adopted when its result names the upload, and
//! never because no other is left: a stranger's transcript would be published.

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

/// Answers that do not come in one look; with hosts that are away each takes its time.
const UNTOLD: u32 = 3;
/// A list is read again after this long; two looks of one search are further apart.
const FRESH: Duration = Duration::from_secs(4);
/// A task may be listed this long after its submit was given up.
const LAG: Duration = Duration::from_secs(5);
/// A task that never ends must not keep a recording waiting for as long as the service remembers. The service
/// ends a task of its own after three hours.
const LONGEST_DOUBT: Duration = Duration::from_secs(3 * 3600);
/// As long may a list not show a task that is known.
const LONGEST_SHORT: Duration = Duration::from_secs(30);
/// After a day the service forgets tasks and results; shortly before, absence begins to mean nothing.
const MEMORY: Duration = Duration::from_secs(23 * 3600);

/// Looks for lost tasks, and remembers what it found out.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Which upload each task was for, as its result told. Results do not change, and every search looks at the same tasks.
    uploads: Mutex<HashMap<String, String>>,
    /// The list as it was read last: it takes many pages, and after a bad minute of the network many searches follow each other.
    list: Mutex<Option<Arc<List>>>,
    silence: Silence,
}

/// What a task was for.
enum Upload {
    /// This file, by the service's URL.
    Of(String),
    /// The task brought nothing and cost nothing.
    Nothing,
    /// The task may have been paid, and what it was for can never be told.
    Untold,
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

impl Search {
    /// Above this the oldest are not worth finding; they are looked up again.
    const MOST: usize = 20_000;

    /// The task of an upload, where another search, or a fetched result, has told it.
    fn task_of(&self, object: &str) -> Option<String> {
        let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.iter().find(|(_, file_url)| names(file_url, object)).map(|(task_id, _)| task_id.clone())
    }

    /// A result told what its task was for.
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
                warn!(%error, "the task list does not answer; what became of a submit cannot be told");
                Ok(Resolution::Unknown)
            }
            found => found,
        }
    }

    /// Looks for the task of a submit: first at those that were made when it was sent.
    async fn look(&self, client: &Client, submit: Lost<'_>) -> Result<Resolution, Error> {
        let age = Timestamp::now().duration_since(submit.since);
        // A time that is still to come was told by a clock that has been set since.
        if age.unsigned_abs() > MEMORY || (age.is_negative() && age.unsigned_abs() > MARGIN / 2) {
            return Ok(Resolution::Unknown);
        }
        if let Some(task_id) = self.task_of(submit.marker) {
            return Ok(Resolution::Found { handle: task_id });
        }
        let list = match self.list(client, &submit).await {
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
        if let Some(task_id) = self.look_through(client, &list.listed, &submit, &mut doubts).await {
            return Ok(Resolution::Found { handle: task_id });
        }
        let waited = Timestamp::now().duration_since(submit.until.unwrap_or(submit.since)).unsigned_abs();
        Ok(doubts.judge(waited))
    }

    /// The task of a submit among those of a list; or why it may be there all the same.
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
            // The list is ahead of it.
            Polled::Open => Err(missing("end of a task that has ended by the list")),
        }
    }
}

/// What keeps a search that found nothing from saying that there is no task.
#[derive(Debug, Default)]
struct Doubts {
    /// The list does not show a task that it must have.
    is_short: bool,
    /// A task runs, or it is not told now what it was for.
    undecided: bool,
    /// It will never be told.
    cannot_tell: bool,
}

impl Doubts {
    /// What they come to, so long after the submit was given up. A repeat costs money, waiting does not; and no task of the service's
    /// runs for ever.
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
