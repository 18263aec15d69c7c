//! `filetrans`: a task for up to twelve hours of audio. Submit, ask, fetch the result.

use std::time::Duration;

use hark_sdk::event::{Blame, Fault};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use super::answer::{missing, refusal_in, seconds};
use super::body::Outgoing;
use super::client::{Client, JSON, unanswered};
use super::error::{Error, Verdict};
use super::result::ResultFile;
use super::verdict::{Refusal, means_silence, means_success};

/// What to recognize, and how.
#[derive(Debug, Clone)]
pub struct SubmitRequest<'a> {
    /// The service's model name.
    pub model: &'a str,
    /// `https://…`, or what [`super::Recognizer::upload`] gave.
    pub file_url: &'a str,
    /// The service's language code; `None`: detect.
    pub language: Option<&'a str>,
    /// Names, terms, prose that bias the vocabulary.
    pub context: Option<&'a str>,
    /// Numbers as digits.
    pub itn: bool,
    /// Tracks to recognize, from 0; every one is billed by itself.
    pub channels: &'a [u32],
}

/// How a task stands.
#[derive(Debug, Clone)]
pub enum Task {
    /// Waits at the service.
    Pending,
    /// The service is at work.
    Running,
    /// Done; the result is to be fetched ([`super::Recognizer::result`]).
    Succeeded {
        /// Signed: a secret, good for 24 h.
        transcription_url: String,
        /// `usage.seconds`.
        seconds: u64,
    },
    /// Done, and nobody said anything.
    NothingSaid {
        /// `usage.seconds`.
        seconds: u64,
    },
    /// It brings nothing: it failed (the error says whether a new task may fare better), was canceled, or the service does not know
    /// it any more ([`super::Verdict::Unknown`]). Asking again changes nothing.
    Failed(Error),
}

/// The code of a task that the service does not know (any more).
pub const TASK_UNKNOWN: &str = "TaskUnknown";

/// A result's code where it is gone for good, most likely after its 24 hours.
pub const RESULT_GONE: &str = "ResultGone";

const PATH: &str = "/services/audio/asr/transcription";

/// Longest result file. Twelve hours of speech have some megabytes; without a bound a stranger's file could fill the memory.
const MAX_RESULT_BYTES: usize = 64 << 20;

/// A result that trickles keeps others from being asked for; it is asked for again.
const LONGEST_DOWNLOAD: Duration = Duration::from_secs(300);

pub(crate) async fn submit(client: &Client, request: &SubmitRequest<'_>) -> Result<String, Error> {
    // Always with parameters: on the newer hosts a submit without them is accepted and then fails.
    let mut parameters = json!({"channel_id": request.channels, "enable_itn": request.itn});
    if let Some(language) = request.language.filter(|language| !language.is_empty()) {
        parameters["language"] = language.into();
    }
    if let Some(context) = request.context.filter(|context| !context.trim().is_empty()) {
        parameters["corpus"] = json!({"text": context});
    }
    let body =
        json!({"model": request.model, "input": {"file_url": request.file_url}, "parameters": parameters});
    let mut call = client.post(PATH, JSON).header("X-DashScope-Async", HeaderValue::from_static("enable"));
    if request.file_url.starts_with("oss://") {
        call = call.header("X-DashScope-OssResourceResolve", HeaderValue::from_static("enable"));
    }
    let (body, departure) = Outgoing::bytes(body.to_string().into_bytes());
    let answer = client.json(client.send(call, body, departure).await?).await?;
    let task_id = answer["output"]["task_id"].as_str().filter(|id| !id.is_empty());
    task_id.map(str::to_owned).ok_or_else(|| missing("task id"))
}

pub(crate) async fn query(client: &Client, task_id: &str) -> Result<Task, Error> {
    let response = client.get(&["tasks", task_id]).send().await.map_err(unanswered)?;
    let (answer, headers) = client.value(response).await.map_err(Error::of_a_free_call)?;
    // A code beside a status is the task's.
    if answer["output"]["task_status"].as_str().is_none()
        && let Some(error) = refusal_in(&answer, Some(&headers), None)
    {
        return Err(client.masked(error));
    }
    match task(&answer) {
        Some(Task::Failed(error)) => Ok(Task::Failed(client.masked(error))),
        Some(task) => Ok(task),
        None => Err(missing("task_status").of_a_free_call()),
    }
}

/// How a task stands by the answer to a query; `None`: it does not say.
fn task(answer: &Value) -> Option<Task> {
    let output = &answer["output"];
    let seconds = seconds(&answer["usage"]["seconds"]).unwrap_or(0);
    // The provider's samples compare it in any case; and one that was not understood would be followed for ever.
    let status = output["task_status"].as_str()?.to_ascii_uppercase();
    Some(match status.as_str() {
        "PENDING" => Task::Pending,
        "SUCCEEDED" => match transcription_url(output) {
            Some(url) => Task::Succeeded { transcription_url: url.to_owned(), seconds },
            // The siblings' tasks succeed where what they were made of has failed.
            None if code(answer).is_some() => failed(answer, seconds),
            None => Task::Failed(missing("transcription_url in a task that succeeded").billed(seconds)),
        },
        "FAILED" => failed(answer, seconds),
        "CANCELED" | "CANCELLED" => {
            let canceled = Error::give_up(Fault {
                code: "TaskCanceled".into(),
                blame: Blame::Account,
                message: "the task was canceled at the service by somebody with access to the account".into(),
                attempts: None,
            });
            Task::Failed(canceled.billed(seconds))
        }
        "UNKNOWN" => {
            let message = "the service does not know the task any more: expired, or of another account's key";
            Task::Failed(Error::unknown(TASK_UNKNOWN, message))
        }
        // RUNNING, SUSPENDED, and whatever is added: anything but an end.
        _ => Task::Running,
    })
}

/// Fetches a result and makes segments of it.
pub(crate) async fn result(client: &Client, url: &str) -> Result<ResultFile, Error> {
    // The call's time is for its beginning: a large result may come over a slow line.
    let call = tokio::time::timeout(client.timeouts().call, client.storage().get(url).send());
    let mut response = call
        .await
        .map_err(|_| Error::again("NoAnswer", "the result's host did not answer in time"))?
        .map_err(unanswered)?;
    let status = response.status().as_u16();
    match status {
        200 => {}
        403 | 404 | 410 => {
            let message = format!(
                "the result's host answered HTTP status {status}: its 24 hours are over, or its file was removed"
            );
            return Err(Error::unknown(RESULT_GONE, &message));
        }
        _ => {
            return Err(Error::again(
                "NoResult",
                &format!("the result's host answered HTTP status {status}"),
            ));
        }
    }
    let body =
        tokio::time::timeout(LONGEST_DOWNLOAD, client.body(&mut response, Vec::new(), MAX_RESULT_BYTES));
    let body = body
        .await
        .unwrap_or_else(|_| {
            let seconds = LONGEST_DOWNLOAD.as_secs();
            Err(Error::again("NoAnswer", &format!("the result took longer than {seconds} s")))
        })
        .map_err(Error::of_a_free_call)?;
    // Some megabytes of JSON are too much for a thread that others wait for. The parser's words could quote the text.
    tokio::task::spawn_blocking(move || ResultFile::read(&body))
        .await
        .map_err(|_| Error::again("NoResult", "the reader of the result ended"))?
        .map_err(|_| {
            Error::unknown("UnreadableResult", "the result is not the JSON that the service documents")
        })
}

fn failed(answer: &Value, seconds: u64) -> Task {
    let code = code(answer);
    let message = told(answer, "message").next().unwrap_or_default();
    if code.is_some_and(means_silence) {
        return Task::NothingSaid { seconds };
    }
    let refusal = Refusal { code: Some(code.unwrap_or("TaskFailed")), message, ..Refusal::default() };
    let mut error = Error::refused(&refusal).billed(seconds);
    // The task met a limit inside the service; no queue of ours learns from that, and another task is counted.
    if let Verdict::Throttled { hint, .. } = error.verdict {
        error.verdict = Verdict::Again { hint, at_most: None };
    }
    Task::Failed(error)
}

/// The code of a failure that an answer tells.
fn code(answer: &Value) -> Option<&str> {
    told(answer, "code").find(|code| !means_success(code))
}

/// What an answer tells of a failure under this name. The siblings' shape has it one floor down, other answers one floor up.
fn told<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    let output = &answer["output"];
    let (result, results) = (&output["result"], &output["results"]);
    let places = [output, result, &result[0], &results[0], answer];
    places.map(|place| place[name].as_str()).into_iter().flatten().filter(|text| !text.is_empty())
}

/// Where the result is: `output` has it in an object, in a list of one, as it is, or has the URL itself.
fn transcription_url(output: &Value) -> Option<&str> {
    let (result, results) = (&output["result"], &output["results"]);
    [result, &result[0], results, &results[0], output].into_iter().find_map(url_in)
}

fn url_in(place: &Value) -> Option<&str> {
    let bare = place.as_str().filter(|text| text.starts_with("https://") || text.starts_with("http://"));
    place["transcription_url"].as_str().or(bare).filter(|url| !url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_found_wherever_it_is() {
        const URL: &str = "https://host/x.json?Signature=a%2Bb";
        let place = json!({"transcription_url": URL});
        for (name, value) in [
            ("result", place.clone()),
            ("result", json!([place])),
            ("result", json!(URL)),
            ("result", json!([URL])),
            ("results", json!([place])),
            ("results", place),
            ("transcription_url", json!(URL)),
        ] {
            for code in [json!(null), json!(""), json!("Success"), json!("200")] {
                let output = json!({"task_status": "SUCCEEDED", name: value, "code": code});
                let answer = json!({"code": code, "output": output, "usage": {"seconds": 3}});
                let Some(Task::Succeeded { transcription_url, seconds: 3 }) = task(&answer) else {
                    panic!("{answer}")
                };
                assert_eq!(transcription_url, URL);
            }
        }
        for nowhere in [json!(null), json!([]), json!(""), json!("done"), json!({"transcription_url": ""})] {
            let answer =
                json!({"code": "Success", "output": {"task_status": "SUCCEEDED", "result": nowhere}});
            let Some(Task::Failed(error)) = task(&answer) else { panic!("{answer}") };
            assert!(error.is_unreadable(), "{answer}");
        }
    }

    #[test]
    fn a_word_of_success_is_no_reason_of_a_failure() {
        let answer = json!({"code": "Success", "output": {"task_status": "FAILED", "code": "Success", "result": {"code": "DECODE_ERROR"}}});
        let Some(Task::Failed(error)) = task(&answer) else { panic!("{answer}") };
        assert_eq!(error.fault.code, "DECODE_ERROR");
    }

    #[test]
    fn a_task_that_succeeded_may_tell_why_there_is_no_result() {
        let of = |result: Value| {
            let answer =
                json!({"output": {"task_status": "SUCCEEDED", "results": [result]}, "usage": {"seconds": 0}});
            task(&answer).unwrap()
        };
        let silence = of(json!({"subtask_status": "FAILED", "code": "SUCCESS_WITH_NO_VALID_FRAGMENT"}));
        assert!(matches!(silence, Task::NothingSaid { .. }), "{silence:?}");
        let code = |task: Task| match task {
            Task::Failed(error) => (error.fault.code, error.verdict),
            other => panic!("{other:?}"),
        };
        let (broken, verdict) =
            code(of(json!({"subtask_status": "FAILED", "code": "DECODE_ERROR", "message": "x"})));
        assert_eq!((broken.as_str(), verdict), ("DECODE_ERROR", Verdict::GiveUp));
        let (untold, verdict) = code(of(json!({"subtask_status": "SUCCEEDED"})));
        assert_eq!((untold.as_str(), verdict), ("UnreadableAnswer", Verdict::Unknown));
    }
}
