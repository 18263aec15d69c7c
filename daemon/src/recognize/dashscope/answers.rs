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
    /// Billed seconds of audio.
    #[serde(default)]
    pub(super) seconds: u64,
}

impl From<Usage> for event::Usage {
    fn from(usage: Usage) -> Self {
        event::Usage::seconds(usage.seconds)
    }
}

/// What was asked for, and the charge.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<T> {
    pub(super) output: T,
    #[serde(default)]
    pub(super) usage: Usage,
}

/// A whole answer of flash, or one event of its stream.
#[derive(Debug, Deserialize)]
pub(super) struct Flash {
    pub(super) choices: [Choice; 1],
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    /// `stop`: the text is complete; `length`: the service cut it. While the service is still recognizing, null or the string "null".
    pub(super) finish_reason: Option<String>,
    pub(super) message: Message,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    /// Empty where no speech was recognized, and in the last event of a stream.
    pub(super) content: Vec<Text>,
    #[serde(default)]
    pub(super) annotations: Vec<Annotation>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Text {
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Annotation {
    pub(super) language: Option<String>,
    pub(super) emotion: Option<String>,
}

/// The answer to a submit.
#[derive(Debug, Deserialize)]
pub(super) struct Submitted {
    pub(super) task_id: String,
}

/// The answer to a query.
#[derive(Debug, Deserialize)]
pub(super) struct Task {
    pub(super) task_status: Status,
    /// Present if the task succeeded.
    pub(super) result: Option<TaskResult>,
    /// Present if the task failed.
    #[serde(flatten)]
    pub(super) failure: Refused,
}

#[derive(Debug, Deserialize)]
pub(super) struct TaskResult {
    pub(super) transcription_url: String,
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
    fn a_flash_answer_is_read_as_documented() {
        let answer = json!({"request_id": "r", "output": {"choices": [{"finish_reason": "stop", "message": {
            "role": "assistant",
            "annotations": [{"type": "audio_info", "language": "en", "emotion": "neutral"}],
            "content": [{"text": "the transcript"}],
        }}]}, "usage": {"seconds": 1, "input_tokens_details": {"text_tokens": 0}}});
        let Answer { output: Flash { choices: [choice] }, usage } = read(&answer);
        assert_eq!((choice.finish_reason.as_deref(), usage.seconds), (Some("stop"), 1));
        assert_eq!(choice.message.content[0].text, "the transcript");
        assert_eq!(choice.message.annotations[0].language.as_deref(), Some("en"));
    }

    #[test]
    fn a_text_of_another_shape_is_no_silence() {
        let of = |content: Value| {
            let answer = json!({"output": {"choices": [{"message": {"content": content}}]}});
            Answer::<Flash>::deserialize(&answer).map(|answer| {
                let [choice] = answer.output.choices;
                (choice.finish_reason, choice.message.content.len())
            })
        };
        assert_eq!(of(json!([])).unwrap(), (None, 0));
        assert!(of(json!([{"words": "so"}])).is_err() && of(json!("so")).is_err());
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
