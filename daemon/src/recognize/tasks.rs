//! The task list: the one way to find a task again whose submit was not heard of.
//!
//! A row says nothing of the file. Only the result of a task does, so a task is adopted when its result names the upload, and
//! never because it is the only one left: a stranger's transcript would be published.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::client::{Client, missing, unanswered};
use super::error::{Error, Verdict};
use super::filetrans::{self, Task};
use super::queue::Pace;
use crate::job::machine::Listing;

/// A row of the task list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// The task.
    pub task_id: String,
    /// `PENDING`, `RUNNING`, `SUCCEEDED`, …
    pub status: String,
}

/// Tasks of a model, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskList {
    /// What the service listed.
    pub rows: Vec<TaskRow>,
    /// There was nothing more to list.
    pub complete: bool,
}

/// Most rows that the service gives at once.
const PAGE: usize = 100;
/// Pages read at most: with 100 submits a minute, some twenty minutes.
const PAGES: usize = 20;
/// Clocks differ, and the request left before it was given up.
const MARGIN: Duration = Duration::from_secs(600);
/// After a day the service forgets tasks and results; shortly before, absence begins to mean nothing.
const MEMORY: Duration = Duration::from_secs(23 * 3600);

/// Which upload each task was for, as its result told. Results do not change, and every ambiguous job looks at the same ones.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<String, String>>);

impl Known {
    /// Above this the oldest are not worth finding; they are looked up again.
    const MOST: usize = 20_000;

    fn get(&self, task_id: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(task_id).cloned()
    }

    fn learn(&self, task_id: &str, file_url: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Known::MOST {
            known.clear();
        }
        known.insert(task_id.to_owned(), file_url.to_owned());
    }
}

pub(crate) async fn list(
    client: &Client,
    pace: &Pace,
    model: &str,
    since: Timestamp,
) -> Result<TaskList, Error> {
    // Nobody documents the zone. Written in UTC the time is right if it is UTC, and eight hours too early if it is Beijing's: then more is listed.
    let start = since.strftime("%Y%m%d%H%M%S").to_string();
    let mut rows = Vec::new();
    for page in 1..=PAGES {
        let query = [
            ("page_no", page.to_string()),
            ("page_size", PAGE.to_string()),
            ("start_time", start.clone()),
            ("model_name", model.to_owned()),
        ];
        let call = client.get(&["tasks"]).query(&query);
        let answer = pace
            .free(async {
                let response = call.send().await.map_err(unanswered)?;
                client.json(response).await.map_err(Error::of_a_free_call)
            })
            .await?;
        let listed = rows_of(&answer).ok_or_else(|| missing("list of tasks").of_a_free_call())?;
        rows.extend(listed.iter().filter_map(|row| read_row(row, model, since)));
        if listed.len() < PAGE {
            return Ok(TaskList { rows, complete: true });
        }
    }
    Ok(TaskList { rows, complete: false })
}

pub(crate) async fn reconcile(
    client: &Client,
    pace: &Pace,
    known: &Known,
    model: &str,
    object: &str,
    sent_at: Timestamp,
) -> Result<Listing, Error> {
    if Timestamp::now().duration_since(sent_at).unsigned_abs() > MEMORY {
        return Ok(Listing::CannotTell);
    }
    let list = match list(client, pace, model, sent_at - MARGIN).await {
        Ok(list) => list,
        // A service without a list will not have one tomorrow.
        Err(error) if error.verdict == Verdict::GiveUp || error.fault.code == "UnreadableAnswer" => {
            return Ok(Listing::CannotTell);
        }
        Err(error) => return Err(error),
    };
    let mut verdict = if list.complete { Listing::Absent } else { Listing::CannotTell };
    for row in &list.rows {
        match row.status.as_str() {
            "SUCCEEDED" => match file_of(client, pace, known, &row.task_id).await? {
                Some(file_url) if names(&file_url, object) => {
                    return Ok(Listing::Found { task_id: row.task_id.clone() });
                }
                Some(_) => {}
                None => verdict = Listing::CannotTell,
            },
            // Ours or a stranger's, they cost nothing and bring nothing.
            "FAILED" | "CANCELED" | "CANCELLED" | "UNKNOWN" => {}
            _ if verdict == Listing::Absent => verdict = Listing::Undecided,
            _ => {}
        }
    }
    Ok(verdict)
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

fn read_row(row: &Value, model: &str, since: Timestamp) -> Option<TaskRow> {
    let text = |names: &[&str]| {
        let places = [row, &row["output"]];
        places.into_iter().find_map(|place| names.iter().find_map(|name| place.get(name)?.as_str()))
    };
    if text(&["model_name", "model"]).is_some_and(|other| other != model) {
        return None;
    }
    // Milliseconds since the epoch have no zone: where they stand, they tell what came before our request.
    let created = row["gmt_create"].as_i64().and_then(|time| Timestamp::from_millisecond(time).ok());
    if created.is_some_and(|created| created < since) {
        return None;
    }
    let task_id = text(&["task_id"])?.to_owned();
    Some(TaskRow {
        task_id,
        status: text(&["task_status", "status"]).unwrap_or_default().to_ascii_uppercase(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
            let read: Vec<_> =
                listed.iter().filter_map(|row| read_row(row, "m", Timestamp::UNIX_EPOCH)).collect();
            assert_eq!(read.len(), 2, "{answer}");
            assert_eq!((read[1].task_id.as_str(), read[1].status.as_str()), ("b", "RUNNING"));
        }
        assert!(rows_of(&json!({"total": 0})).is_none());
    }

    #[test]
    fn rows_of_other_models_and_from_before_are_left_out() {
        let since = Timestamp::from_millisecond(1_000_000).unwrap();
        let row = |model: &str, created: i64| json!({"task_id": "a", "status": "PENDING", "model_name": model, "gmt_create": created});
        assert!(read_row(&row("m", 1_000_001), "m", since).is_some());
        assert!(read_row(&row("n", 1_000_001), "m", since).is_none());
        assert!(read_row(&row("m", 999_999), "m", since).is_none());
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
