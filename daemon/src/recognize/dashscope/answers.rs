//! The service's answers as types. Unknown fields are ignored; an answer without a required field is unreadable.

use hark_sdk::event;
use serde::Deserialize;

/// A refusal: any answer with a `code` that is not empty, whatever its status.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Refused {
    pub(super) code: Option<String>,
    /// Some services write `msg`.
    #[serde(alias = "msg")]
    pub(super) message: Option<String>,
}

/// The charge.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Usage {
    /// Billed seconds of audio, by the qwen3 models.
    seconds: Option<f64>,
    /// The same, by the others.
    duration: Option<f64>,
    /// Tokens of the request and of the answer, by models with a price per token.
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl From<Usage> for event::Usage {
    fn from(usage: Usage) -> Self {
        let Usage { seconds, duration, input_tokens, output_tokens } = usage;
        // A part of a second counts as one; a negative number, or none, becomes 0.
        let seconds = seconds.or(duration).unwrap_or(0.0).ceil() as u64;
        event::Usage { seconds, input_tokens, output_tokens }
    }
}

/// What was asked for, and the charge.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<T> {
    pub(super) output: T,
    #[serde(default)]
    pub(super) usage: Usage,
}

/// A word with its times.
#[derive(Debug, Deserialize)]
pub(super) struct Word {
    begin_time: Option<u64>,
    end_time: Option<u64>,
    /// With a blank before it, where the script has blanks.
    text: String,
    #[serde(default)]
    punctuation: String,
}

/// The words as events have them; a word without times is left out.
pub(super) fn words(told: &[Word]) -> Vec<event::Word> {
    let word = |word: &Word| {
        let (begin_ms, end_ms) = word.begin_time.zip(word.end_time)?;
        let text = format!("{}{}", word.text.trim(), word.punctuation.trim());
        (!text.is_empty()).then_some(event::Word { begin_ms, end_ms, text })
    };
    told.iter().filter_map(word).collect()
}

/// The answer to a submit.
#[derive(Debug, Deserialize)]
pub(super) struct Submitted {
    pub(super) task_id: String,
}

/// The answer to a query. The task's model decides which of the two forms of a result it has; a query names no model.
#[derive(Debug, Deserialize)]
pub(super) struct Task {
    pub(super) task_status: Status,
    /// Of the qwen3 models: present if the task succeeded.
    pub(super) result: Option<TaskResult>,
    /// Of the others: one for each file. A task of which a file failed may have succeeded nevertheless.
    pub(super) results: Option<Vec<Subtask>>,
    /// Present if the task failed.
    #[serde(flatten)]
    pub(super) failure: Refused,
}

#[derive(Debug, Deserialize)]
pub(super) struct TaskResult {
    pub(super) transcription_url: String,
}

/// What became of a file.
#[derive(Debug, Deserialize)]
pub(super) struct Subtask {
    pub(super) subtask_status: Status,
    pub(super) transcription_url: Option<String>,
    /// Present if it failed.
    #[serde(flatten)]
    pub(super) failure: Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    Succeeded,
    Failed,
    Canceled,
    /// The service does not know the task.
    Unknown,
    /// `PENDING`, `RUNNING`, `SUSPENDED`: any state that is not an end.
    #[serde(other)]
    Open,
}

/// A page of the list of tasks.
#[derive(Debug, Deserialize)]
pub(super) struct TaskList {
    pub(super) total_page: usize,
    /// The rows, where the service's SDK finds them …
    tasks: Option<Vec<TaskRow>>,
    /// … and where the service's documentation has them.
    data: Option<Vec<TaskRow>>,
}

impl TaskList {
    /// The rows; `None`: the answer has none, not even an empty list.
    pub(super) fn rows(self) -> Option<Vec<TaskRow>> {
        self.tasks.or(self.data)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct TaskRow {
    pub(super) task_id: String,
    pub(super) status: Status,
    /// A model's name without a date stands for a name with one, and the service may list either.
    pub(super) model_name: Option<String>,
    /// Milliseconds since the epoch.
    pub(super) gmt_create: Option<i64>,
}

/// The permission to upload one file for one model; valid for some minutes.
#[derive(Debug, Deserialize)]
pub(super) struct PolicyAnswer {
    pub(super) data: Policy,
}

#[derive(Debug, Deserialize)]
pub(super) struct Policy {
    pub(super) upload_host: String,
    pub(super) upload_dir: String,
    pub(super) oss_access_key_id: String,
    pub(super) signature: String,
    pub(super) policy: String,
    pub(super) x_oss_object_acl: String,
    pub(super) x_oss_forbid_overwrite: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<'de, T: Deserialize<'de>>(answer: &'de Value) -> T {
        T::deserialize(answer).unwrap()
    }

    #[test]
    fn seconds_are_read_under_either_name_and_rounded_up() {
        let seconds = |usage: Value| event::Usage::from(read::<Usage>(&usage)).seconds;
        assert_eq!(seconds(json!({"seconds": 3})), 3);
        assert_eq!(seconds(json!({"seconds": 2.96})), 3);
        assert_eq!(seconds(json!({"duration": 3.2})), 4);
        assert_eq!(seconds(json!({"duration": 4})), 4);
        assert_eq!(seconds(json!({})), 0);
    }

    #[test]
    fn every_status_of_a_task_is_known() {
        let status = |word: &str| read::<Status>(&json!(word));
        assert_eq!(["PENDING", "RUNNING", "SUSPENDED"].map(status), [Status::Open; 3]);
        assert_eq!(
            ["SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"].map(status),
            [Status::Succeeded, Status::Failed, Status::Canceled, Status::Unknown]
        );
    }

    #[test]
    fn the_rows_of_a_list_are_found_under_either_name() {
        let rows = json!([{"task_id": "a", "status": "SUCCEEDED", "gmt_create": 1_800_000_000_000_i64}]);
        for name in ["tasks", "data"] {
            let rows = read::<TaskList>(&json!({"total_page": 1, "total": 1, name: rows})).rows().unwrap();
            assert_eq!((&*rows[0].task_id, rows[0].status), ("a", Status::Succeeded));
        }
        assert!(read::<TaskList>(&json!({"total_page": 1})).rows().is_none());
        assert!(TaskList::deserialize(json!({"total_page": 1, "tasks": [{"id": "a"}]})).is_err());
    }
}
