//! The task list: the one way to find a task again whose submit was not heard of, and the cheap way to hear of a thousand.
//!
//! A row says nothing of the file. Only the result of a task does, so a task is adopted when its result names the upload, and
//! never because it is the only one left: a stranger's transcript would be published.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tracing::debug;

use super::client::{Client, missing, unanswered};
use super::error::{Error, Verdict};
use super::filetrans::{self, Task};
use super::queue::Pace;
use crate::job::machine::Listing;

/// A row of the task list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TaskRow {
    task_id: String,
    /// `PENDING`, `RUNNING`, `SUCCEEDED`, …
    status: String,
    created: Option<Timestamp>,
}

/// A submit of which nobody knows whether the service took it.
#[derive(Debug, Clone, Copy)]
pub struct LostSubmit<'a> {
    /// The service's model name.
    pub model: &'a str,
    /// Unique name of its upload.
    pub object: &'a str,
    /// Not after it may have left: a later time would find nothing and have it paid again.
    pub since: Timestamp,
    /// Not before it was given up: tasks that were made after that are others'. `None`: not known.
    pub until: Option<Timestamp>,
    /// Tasks that other recordings of this daemon's have, or had.
    pub taken: &'a HashSet<String>,
}

/// Tasks of a model that were made in a time.
#[derive(Debug, Clone, Copy)]
struct Span<'a> {
    model: &'a str,
    since: Timestamp,
    until: Option<Timestamp>,
}

impl Span<'_> {
    /// Whether a task that was made then may be in it; where nobody says when, it may.
    fn takes(&self, created: Option<Timestamp>) -> bool {
        let is_before = |created: Timestamp| created < self.since - MARGIN;
        let is_after = |created: Timestamp| self.until.is_some_and(|until| created > until + MARGIN);
        created.is_none_or(|created| !is_before(created) && !is_after(created))
    }
}

/// Most rows that the service gives at once.
const PAGE: usize = 100;
/// How often a page is asked for.
const PAGE_TRIES: u32 = 4;
/// Pages read at most, newest first: with 100 submits a minute, those of the last three hours.
const PAGES: usize = 200;
/// Pages read to hear how a thousand tasks stand: some may be strangers'.
const SURVEY_PAGES: usize = 40;
/// A list is read again after this long; two looks of one search are further apart.
const FRESH: Duration = Duration::from_secs(4);
/// A task may be listed this long after its submit was given up.
const LAG: Duration = Duration::from_secs(5);
/// Clocks differ, and the request left before it was given up.
const MARGIN: Duration = Duration::from_secs(600);
/// A task that somebody else's program never lets end must not keep a recording waiting for as long as the service remembers. The service
/// ends a task of its own after three hours.
const LONGEST_DOUBT: Duration = Duration::from_secs(3 * 3600);
/// After a day the service forgets tasks and results; shortly before, absence begins to mean nothing.
const MEMORY: Duration = Duration::from_secs(23 * 3600);

const SUCCEEDED: &str = "SUCCEEDED";

/// What searches found out, for those that follow.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Which upload each task was for, as its result told. Results do not change, and every ambiguous job looks at the same ones.
    uploads: Mutex<HashMap<String, String>>,
    /// The list as it was read last: it takes many pages, and after a bad minute of the network many jobs look for theirs.
    list: Mutex<Option<Arc<List>>>,
}

/// The list from some time on.
#[derive(Debug)]
struct List {
    model: String,
    since: Timestamp,
    /// Not after it was written.
    asked_at: Timestamp,
    rows: Vec<TaskRow>,
    is_complete: bool,
}

impl List {
    /// Whether it tells of a submit what another one would: a look that comes after a lag has to find what was made before.
    fn serves(&self, submit: &LostSubmit<'_>, now: Timestamp) -> bool {
        let is_fresh = now.duration_since(self.asked_at).unsigned_abs() < FRESH;
        let is_later = submit.until.is_some_and(|until| until + LAG <= self.asked_at);
        is_fresh && is_later && self.model == submit.model && self.since <= submit.since
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

    pub(crate) fn learn(&self, task_id: &str, file_url: &str) {
        let mut known = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Known::MOST {
            known.clear();
        }
        known.insert(task_id.to_owned(), file_url.to_owned());
    }
}

/// Looks for the task of a submit: first at those that were made when it was sent.
pub(crate) async fn reconcile(
    client: &Client,
    pace: &Pace,
    known: &Known,
    submit: LostSubmit<'_>,
) -> Result<Listing, Error> {
    if Timestamp::now().duration_since(submit.since).unsigned_abs() > MEMORY {
        return Ok(Listing::CannotTell);
    }
    if let Some(task_id) = known.task_of(submit.object) {
        return Ok(Listing::Found { task_id });
    }
    let list = match list(client, pace, known, &submit).await {
        Ok(list) => list,
        // A service without a list will not have one tomorrow.
        Err(error) if error.verdict == Verdict::GiveUp || error.fault.code == "UnreadableAnswer" => {
            return Ok(Listing::CannotTell);
        }
        Err(error) => return Err(error),
    };
    let span = Span { model: submit.model, since: submit.since, until: submit.until };
    let mut rows: Vec<&TaskRow> = list.rows.iter().filter(|row| span.takes(row.created)).collect();
    rows.sort_by_key(|row| row.created.map(|created| created.duration_since(submit.since).abs()));
    let (mut undecided, mut cannot_tell) = (false, !list.is_complete);
    for row in rows.into_iter().filter(|row| !submit.taken.contains(&row.task_id)) {
        match row.status.as_str() {
            SUCCEEDED => match file_of(client, pace, known, &row.task_id).await {
                Ok(Some(file_url)) if names(&file_url, submit.object) => {
                    return Ok(Listing::Found { task_id: row.task_id.clone() });
                }
                Ok(Some(_)) => {}
                Ok(None) => cannot_tell = true,
                // One that is not told now is told the next time; the others are known by then.
                Err(error) => {
                    debug!(task = row.task_id, %error, "it is not told what this task was for");
                    undecided = true;
                }
            },
            // Ours or a stranger's, they cost nothing and bring nothing.
            _ if row.has_ended() => {}
            _ => undecided = true,
        }
    }
    // A repeat costs money, waiting does not; and no task of the service's runs for ever.
    let waited = Timestamp::now().duration_since(submit.until.unwrap_or(submit.since)).unsigned_abs();
    Ok(match () {
        () if undecided && waited < LONGEST_DOUBT => Listing::Undecided,
        () if undecided => Listing::CannotTell,
        () if cannot_tell => Listing::CannotTell,
        () => Listing::Absent,
    })
}

/// The list from the submit's time on, as it was read last or as it is now.
async fn list(
    client: &Client,
    pace: &Pace,
    known: &Known,
    submit: &LostSubmit<'_>,
) -> Result<Arc<List>, Error> {
    let last = known.list.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(last) = last.filter(|last| last.serves(submit, Timestamp::now())) {
        return Ok(last);
    }
    let asked_at = Timestamp::now();
    let span = Span { model: submit.model, since: submit.since, until: None };
    let (rows, is_complete) = everything(client, pace, &span).await?;
    let (model, since) = (submit.model.to_owned(), submit.since);
    let list = Arc::new(List { model, since, asked_at, rows, is_complete });
    *known.list.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&list));
    Ok(list)
}

/// All rows of a span, and whether these are all.
async fn everything(client: &Client, pace: &Pace, span: &Span<'_>) -> Result<(Vec<TaskRow>, bool), Error> {
    let (mut rows, mut seen) = (Vec::new(), HashSet::new());
    for number in 1..=PAGES {
        let mut tries = 1;
        let page = loop {
            match page(client, pace, span, number).await {
                // One page that does not come is no reason to begin anew.
                Err(error) if tries < PAGE_TRIES && error.verdict != Verdict::GiveUp => {
                    debug!(number, %error, "a page of the task list does not come");
                    tries += 1;
                }
                outcome => break outcome?,
            }
        };
        let before = seen.len();
        seen.extend(page.listed);
        rows.extend(page.rows);
        // A list that does not say how long it is ends where a page brings nothing new. A short page proves nothing: not every service
        // gives as many rows as it is asked for.
        if page.is_last.unwrap_or(seen.len() == before) {
            return Ok((rows, true));
        }
    }
    Ok((rows, false))
}

/// Which of these tasks have ended, as far as the list tells: a hundred of them in one call. `since`: not after the first was made.
pub(crate) async fn survey(
    client: &Client,
    pace: &Pace,
    model: &str,
    since: Timestamp,
    tasks: &HashSet<String>,
) -> Result<HashMap<String, bool>, Error> {
    let span = Span { model, since, until: None };
    let mut ended = HashMap::new();
    for number in 1..=SURVEY_PAGES {
        let page = page(client, pace, &span, number).await?;
        let is_last = page.is_last.unwrap_or(page.listed.len() < PAGE);
        let ours = page.rows.into_iter().filter(|row| tasks.contains(&row.task_id));
        ended.extend(ours.map(|row| (row.has_ended(), row.task_id)).map(|(ended, task)| (task, ended)));
        if is_last || ended.len() == tasks.len() {
            break;
        }
    }
    Ok(ended)
}

/// A page of the list.
struct Page {
    /// Rows that are in the span, newest first.
    rows: Vec<TaskRow>,
    /// The ids of all its rows.
    listed: Vec<String>,
    /// `None`: the service does not say.
    is_last: Option<bool>,
}

async fn page(client: &Client, pace: &Pace, span: &Span<'_>, number: usize) -> Result<Page, Error> {
    // Nobody documents the zone. Written in UTC the time is right if it is UTC, and eight hours too early if it is Beijing's: then more
    // is listed. An end written so would leave ours out.
    let start = (span.since - MARGIN).strftime("%Y%m%d%H%M%S").to_string();
    let query = [
        ("page_no", number.to_string()),
        ("page_size", PAGE.to_string()),
        ("start_time", start),
        ("model_name", span.model.to_owned()),
    ];
    let call = client.get(&["tasks"]).query(&query);
    let answer = pace
        .free(async {
            let response = call.send().await.map_err(unanswered)?;
            client.json(response).await.map_err(Error::of_a_free_call)
        })
        .await?;
    let listed = rows_of(&answer).ok_or_else(|| missing("list of tasks").of_a_free_call())?;
    Ok(Page {
        rows: listed.iter().filter_map(|row| read_row(row, span)).collect(),
        listed: listed.iter().filter_map(|row| Some(text_of(row, &["task_id"])?.to_owned())).collect(),
        is_last: is_last(&answer, number, listed.len()),
    })
}

/// Whether page `number` with so many `rows` is the last one, by the answer's paging numbers; `None` where there are none.
fn is_last(answer: &Value, number: usize, rows: usize) -> Option<bool> {
    let number_of = |names: &[&str]| {
        let places = [answer, &answer["output"], &answer["data"]];
        places.into_iter().find_map(|place| names.iter().find_map(|name| place.get(name)?.as_u64()))
    };
    if rows == 0 {
        return Some(true);
    }
    if let Some(pages) = number_of(&["total_page", "total_pages"]) {
        return Some(number as u64 >= pages);
    }
    let size = number_of(&["page_size"]);
    match number_of(&["total", "total_count"]) {
        // A page before the last one is full, whatever was asked for.
        Some(total) => Some(number as u64 * size.unwrap_or(rows as u64).max(rows as u64) >= total),
        None => size.filter(|size| *size > rows as u64).map(|_| true),
    }
}

/// The file that a task was for; `None` if it can never be told.
async fn file_of(
    client: &Client,
    pace: &Pace,
    known: &Known,
    task_id: &str,
) -> Result<Option<String>, Error> {
    if let Some(file_url) = known.get(task_id) {
        return Ok(Some(file_url));
    }
    let Task::Succeeded { transcription_url, .. } = pace.free(filetrans::query(client, task_id)).await?
    else {
        return Ok(None);
    };
    match filetrans::result(client, &transcription_url).await {
        Ok(result) if !result.file_url.is_empty() => {
            known.learn(task_id, &result.file_url);
            Ok(Some(result.file_url))
        }
        Ok(_) => Ok(None),
        Err(error) if error.verdict == Verdict::Unknown => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file's URL is that of the upload: its path ends in the object's name.
fn names(file_url: &str, object: &str) -> bool {
    let path = file_url.split(['?', '#']).next().unwrap_or_default();
    let object = object.rsplit('/').next().unwrap_or(object);
    !object.is_empty()
        && path.strip_suffix(object).is_some_and(|rest| rest.ends_with(['/']) || rest.ends_with("%2F"))
}

/// Documents and SDKs disagree about the field, and about whether the answer is flat.
fn rows_of(answer: &Value) -> Option<&Vec<Value>> {
    [answer, &answer["output"], &answer["data"]]
        .into_iter()
        .find_map(|place| ["tasks", "data", "rows"].iter().find_map(|name| place.get(name)?.as_array()))
}

impl TaskRow {
    fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), SUCCEEDED | "FAILED" | "CANCELED" | "CANCELLED" | "UNKNOWN")
    }
}

fn text_of<'a>(row: &'a Value, names: &[&str]) -> Option<&'a str> {
    let places = [row, &row["output"]];
    places.into_iter().find_map(|place| names.iter().find_map(|name| place.get(name)?.as_str()))
}

fn read_row(row: &Value, span: &Span<'_>) -> Option<TaskRow> {
    let text = |names: &[&str]| text_of(row, names);
    // A name without a date stands for one with a date, and either may be listed.
    let is_same = |other: &str| other.starts_with(span.model) || span.model.starts_with(other);
    if text(&["model_name", "model"]).is_some_and(|other| !is_same(other)) {
        return None;
    }
    // Milliseconds since the epoch have no zone: where they stand, they tell what came before our request, and after its end.
    let created = row["gmt_create"].as_i64().and_then(|time| Timestamp::from_millisecond(time).ok());
    if !span.takes(created) {
        return None;
    }
    let task_id = text(&["task_id"])?.to_owned();
    Some(TaskRow {
        task_id,
        status: text(&["task_status", "status"]).unwrap_or_default().to_ascii_uppercase(),
        created,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(since: i64, until: Option<i64>) -> Span<'static> {
        let time = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        Span { model: "m", since: time(since), until: until.map(time) }
    }

    #[test]
    fn rows_are_found_wherever_they_stand() {
        let rows = json!([{"task_id": "a", "status": "SUCCEEDED"}, {"output": {"task_id": "b", "task_status": "RUNNING"}}]);
        for answer in [
            json!({"tasks": rows}),
            json!({"data": rows}),
            json!({"output": {"tasks": rows}}),
            json!({"data": {"tasks": rows}}),
        ] {
            let listed = rows_of(&answer).unwrap();
            let read: Vec<_> = listed.iter().filter_map(|row| read_row(row, &span(0, None))).collect();
            assert_eq!(read.len(), 2, "{answer}");
            assert_eq!((read[1].task_id.as_str(), read[1].status.as_str()), ("b", "RUNNING"));
        }
        assert!(rows_of(&json!({"total": 0})).is_none());
    }

    #[test]
    fn rows_of_other_models_and_times_are_left_out() {
        let span = span(2_000, Some(3_000));
        let row = |model: &str, seconds: i64| json!({"task_id": "a", "status": "PENDING", "model_name": model, "gmt_create": seconds * 1_000});
        // Ten minutes are left to clocks that differ.
        let table = [(1_399, false), (1_400, true), (2_500, true), (3_600, true), (3_601, false)];
        for (created, ours) in table {
            assert_eq!(read_row(&row("m", created), &span).is_some(), ours, "{created}");
        }
        assert!(read_row(&row("n", 2_500), &span).is_none());
        assert!(read_row(&row("m-2025-11-17", 2_500), &span).is_some(), "the same model by its date");
        assert!(read_row(&json!({"task_id": "a"}), &span).is_some(), "a row without a time");
    }

    #[test]
    fn a_page_is_the_last_only_where_the_service_says_so() {
        let table = [
            (json!({"total_page": 3}), 2, 10, Some(false)),
            (json!({"total_page": 3}), 3, 1, Some(true)),
            (json!({"output": {"total": 25, "page_size": 10}}), 2, 10, Some(false)),
            (json!({"total": 25, "page_size": 10}), 3, 5, Some(true)),
            (json!({"total_count": 20}), 1, 10, Some(false)),
            (json!({"page_size": 100}), 1, 99, Some(true)),
            (json!({"page_size": 10}), 1, 10, None),
            (json!({}), 1, 10, None),
            (json!({}), 2, 0, Some(true)),
        ];
        for (answer, number, rows, expected) in table {
            assert_eq!(is_last(&answer, number, rows), expected, "{answer} {number} {rows}");
        }
    }

    #[test]
    fn a_list_serves_searches_that_another_one_would_tell_no_more() {
        let time = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let list = List {
            model: "m".into(),
            since: time(100),
            asked_at: time(200),
            rows: Vec::new(),
            is_complete: true,
        };
        let taken = HashSet::new();
        let submit = |since: i64, until: Option<i64>| LostSubmit {
            model: "m",
            object: "o",
            since: time(since),
            until: until.map(time),
            taken: &taken,
        };
        assert!(list.serves(&submit(100, Some(195)), time(203)));
        assert!(!list.serves(&submit(99, Some(195)), time(203)), "it begins later");
        assert!(!list.serves(&submit(100, Some(196)), time(203)), "it may lag behind the submit");
        assert!(!list.serves(&submit(100, Some(195)), time(204)), "it is old");
        assert!(!list.serves(&submit(100, None), time(203)));
        assert!(!list.serves(&LostSubmit { model: "n", ..submit(100, Some(195)) }, time(203)));
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
