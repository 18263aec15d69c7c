//! A task of filetrans: its state, its error, its result.

use std::time::Duration;

use hark_sdk::event::{Blame, Fault, Usage};
use serde::de::IgnoredAny;

use super::answers::{Answer, Refused, Status, Subtask, Task};
use super::client::Client;
use super::codes::{Refusal, means_silence};
use super::result::ResultFile;
use crate::config::Secret;
use crate::job::{Fate, Transcript, fault};
use crate::recognize::error::{Error, When};
use crate::recognize::http::unanswered;
use crate::recognize::{Polled, Ready};

/// Longest result file. Twelve hours of speech take some megabytes; without a limit, a result from elsewhere could fill the memory.
const MAX_RESULT_BYTES: usize = 64 << 20;

/// A slower result would delay the results of other tasks; the daemon fetches it again later.
const LONGEST_DOWNLOAD: Duration = Duration::from_secs(300);

/// Queries the state of a task.
pub(super) async fn query(client: &Client, task_id: &str) -> Result<Polled, Error> {
    let answer: Answer<Task> =
        client.queries.free(client.free(client.get(&format!("/tasks/{task_id}")))).await?;
    state_of(task_id, answer)
}

/// Cancels a task that is still PENDING; one that runs is refused, and goes on.
pub(super) async fn stop(client: &Client, task_id: &str) -> Result<bool, Error> {
    let call = client.free::<IgnoredAny>(client.command(&format!("/tasks/{task_id}/cancel")));
    match client.queries.free(call).await {
        Ok(_) => Ok(true),
        Err(error) if error.fault.code == "UnsupportedOperation" => Ok(false),
        Err(error) => Err(error),
    }
}

/// The state of a task in the answer to a query.
fn state_of(task_id: &str, answer: Answer<Task>) -> Result<Polled, Error> {
    let (output, billed) = (answer.output, Usage::from(answer.usage));
    // A submit names one file.
    let subtask = output.results.and_then(|results| results.into_iter().next());
    Ok(match output.task_status {
        Status::Open => Polled::Open,
        Status::Succeeded => match (output.result, subtask) {
            (Some(result), _) => ready(task_id, &result.transcription_url, billed),
            (None, Some(Subtask { subtask_status: Status::Failed, failure, .. })) => failed(&failure, billed),
            (None, Some(Subtask { transcription_url: Some(url), .. })) => ready(task_id, &url, billed),
            (None, _) => return Err(Error::unreadable("a task succeeded without a result")),
        },
        Status::Failed => {
            let has_code = output.failure.code.as_deref().is_some_and(|code| !code.is_empty());
            let of_file = subtask.map(|subtask| subtask.failure).filter(|_| !has_code);
            failed(&of_file.unwrap_or(output.failure), billed)
        }
        Status::Canceled => {
            let message = "the task was canceled at the service by a user of the account";
            Polled::Failed(ended(fault("TaskCanceled", Blame::Account, message.into()), When::Never, billed))
        }
        Status::Unknown => {
            let message = "the service does not know the task any more: expired, or of another account's key";
            Polled::Failed(Error { fate: Fate::Unknown, ..Error::open("TaskUnknown", message) })
        }
    })
}

fn ready(task_id: &str, url: &str, billed: Usage) -> Polled {
    Polled::Ready(Ready { handle: task_id.to_owned(), result_url: Secret::new(url), billed })
}

/// Fetches a result and reads its segments.
pub(super) async fn result(client: &Client, ready: &Ready) -> Result<ResultFile, Error> {
    let call = client.http.pooled.get(ready.result_url.reveal()).timeout(LONGEST_DOWNLOAD);
    let mut response = call.send().await.map_err(unanswered)?;
    let status = response.status();
    let message = format!("the result's host answered HTTP status {status}");
    match status.as_u16() {
        200 => {}
        403 | 404 | 410 => {
            let message = format!("{message}: its 24 hours are over, or its file was removed");
            let gone = Error::open("ResultGone", &message);
            return Err(Error { fate: Fate::Taken, when: When::Never, ..gone });
        }
        _ => return Err(Error::open("NoResult", &message)),
    }
    let mut body = Vec::new();
    client.http.body(&mut response, &mut body, MAX_RESULT_BYTES).await?;
    // Parsing some megabytes of JSON takes too long for a thread of the async runtime. The parser's message could quote the text.
    let read = tokio::task::spawn_blocking(move || {
        serde_json::from_slice(&body).map_err(|_| {
            let message = "the result is not as the service documents it";
            Error { fate: Fate::Taken, ..Error::open("UnreadableResult", message) }.with_raw(body)
        })
    });
    read.await.map_err(|_| Error::open("NoResult", "the reader of the result ended"))?
}

/// The error of a task that has ended.
fn ended(fault: Fault, when: When, billed: Usage) -> Error {
    let error = Error::new(fault, Fate::Refused, when);
    // A charged attempt is repeated less often than a refused one.
    if billed.is_nothing() { error } else { error.after_work(billed) }
}

fn failed(failure: &Refused, billed: Usage) -> Polled {
    let code = failure.code.as_deref().filter(|code| !code.is_empty()).unwrap_or("TaskFailed");
    if means_silence(code) {
        return Polled::Heard(Transcript { billed, ..Transcript::default() });
    }
    let message = failure.message.as_deref().unwrap_or_default();
    let error = Refusal { code: Some(code), message, ..Refusal::default() }.into_error();
    let when = match error.when {
        // What concerns the account or the rate, the next submit finds out; another task counts as an attempt.
        When::Held { .. } | When::Throttled { .. } => When::PASSED,
        when => when,
    };
    Polled::Failed(Error { answered: true, ..ended(error.fault, when, billed) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(answer: Value) -> Result<Polled, Error> {
        state_of("t", serde_json::from_value(answer).unwrap())
    }

    fn failure(code: &str, seconds: u64) -> Error {
        let answer = json!({"output": {"task_id": "t", "task_status": "FAILED", "code": code, "message": code}, "usage": {"seconds": seconds}});
        let Ok(Polled::Failed(error)) = state(answer) else { panic!("{code} is no failure") };
        error
    }

    #[test]
    fn a_task_that_succeeded_says_where_its_result_is_and_what_it_cost() {
        let url = "http://host/x.json?Expires=1&Signature=a%2Bb";
        let answer = json!({"request_id": "r", "output": {"task_id": "t", "task_status": "SUCCEEDED", "result": {"transcription_url": url}}, "usage": {"seconds": 3}});
        let Ok(Polled::Ready(ready)) = state(answer) else { panic!("not ready") };
        assert_eq!((ready.result_url.reveal(), ready.billed.seconds), (url, 3));
        assert!(state(json!({"output": {"task_status": "SUCCEEDED"}})).unwrap_err().is_unreadable());
    }

    #[test]
    fn a_task_of_files_is_judged_by_the_state_of_its_file() {
        let task = |subtask: Value| {
            state(
                json!({"output": {"task_id": "t", "task_status": "SUCCEEDED", "results": [subtask], "task_metrics": {"TOTAL": 1, "SUCCEEDED": 0, "FAILED": 1}}, "usage": {"duration": 9}}),
            )
        };
        let url = "https://host/x.json?Signature=a";
        let Ok(Polled::Ready(ready)) =
            task(json!({"file_url": "u", "subtask_status": "SUCCEEDED", "transcription_url": url}))
        else {
            panic!("not ready")
        };
        assert_eq!((ready.result_url.reveal(), ready.billed.seconds), (url, 9));
        let failed = json!({"file_url": "u", "subtask_status": "FAILED", "code": "FILE_404_NOT_FOUND", "message": "gone"});
        let Ok(Polled::Failed(error)) = task(failed.clone()) else { panic!("no failure") };
        assert_eq!(error.fault.code, "FILE_404_NOT_FOUND");
        let silent =
            json!({"subtask_status": "FAILED", "code": "SUCCESS_WITH_NO_VALID_FRAGMENT", "message": ""});
        assert!(matches!(task(silent), Ok(Polled::Heard(_))));
        let whole = json!({"output": {"task_status": "FAILED", "results": [failed]}});
        let Ok(Polled::Failed(error)) = state(whole) else { panic!("no failure") };
        assert_eq!(error.fault.code, "FILE_404_NOT_FOUND");
        assert!(task(json!({"subtask_status": "SUCCEEDED"})).unwrap_err().is_unreadable());
    }

    #[test]
    fn a_task_that_failed_says_why_and_one_in_which_nothing_was_said_is_heard() {
        let error = failure("DECODE_ERROR", 0);
        assert_eq!(
            (&*error.fault.code, error.fate, error.when),
            ("DECODE_ERROR", Fate::Refused, When::Never)
        );
        let silent = json!({"output": {"task_status": "FAILED", "code": "SUCCESS_WITH_NO_VALID_FRAGMENT"}});
        assert!(matches!(state(silent), Ok(Polled::Heard(_))));
    }

    #[test]
    fn a_task_that_failed_and_was_charged_is_not_repeated_as_one_that_was_refused() {
        assert_eq!(failure("FILE_SERVER_ERROR", 0).fate, Fate::Refused);
        let charged = failure("FILE_SERVER_ERROR", 5);
        assert_eq!((charged.fate, charged.billed.seconds), (Fate::Taken, 5));
        assert_eq!(failure("DECODE_ERROR", 5).when, When::Never);
        assert_eq!(failure("Arrearage", 0).when, When::PASSED);
    }

    #[test]
    fn a_task_that_the_service_does_not_know_is_of_unknown_fate() {
        let Ok(Polled::Failed(error)) = state(json!({"output": {"task_status": "UNKNOWN"}})) else {
            panic!()
        };
        assert_eq!(error.fate, Fate::Unknown);
    }
}
