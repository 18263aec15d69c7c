//! `filetrans`: a task for up to twelve hours of audio. Submit, poll, fetch the result.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hark_sdk::event::{Blame, Fault};
use jiff::Timestamp;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tracing::warn;

use super::Account;
use super::client::{Client, missing, refusal_in, seconds};
use super::codes::{Refusal, hold_if_misdirected, means_silence, means_success};
use super::result::ResultFile;
use super::search::Search;
use super::{list, silence, upload};
use crate::config::Secret;
use crate::job::{Fate, Transcript};
use crate::recognize::error::{ALWAYS, Error, When, fault};
use crate::recognize::http::{JSON, Outgoing, unanswered};
use crate::recognize::pacer::Pacer;
use crate::recognize::{
    Audio, Content, Delivers, Limits, Listener, Lost, Permit, Polled, Ready, Recognizer, Request, Resolution,
    Sent, Tasks,
};

/// The asynchronous endpoint.
#[derive(Debug)]
pub(super) struct Filetrans {
    pub(super) account: Arc<Account>,
    pub(super) pacer: Arc<Pacer>,
    pub(super) model: String,
    pub(super) limits: Limits,
}

const FORMATS: [&str; 17] = [
    "aac", "amr", "avi", "flac", "flv", "m4a", "mkv", "mov", "mp3", "mp4", "mpeg", "ogg", "opus", "wav",
    "webm", "wma", "wmv",
];

/// The service's limits (dashscope-protocol.md 3 and 6).
pub(super) fn limits(allow_temporary_upload: bool) -> Limits {
    const FORBIDDEN: &str = "dashscope.allow_temporary_upload is false; set it to true, or send a URL";
    Limits {
        formats: FORMATS.as_slice().into(),
        longest: Some(Duration::from_secs(12 * 3600)),
        inline: Delivers::No,
        upload: match allow_temporary_upload {
            true => Delivers::UpTo(1 << 30),
            false => Delivers::Forbidden(FORBIDDEN),
        },
        url: Delivers::UpTo(2 << 30),
        streams: false,
        tasks: Some(Tasks { kept: Duration::from_secs(24 * 3600), longest: Duration::from_secs(3 * 3600) }),
    }
}

impl Recognizer for Filetrans {
    fn name(&self) -> &str {
        "filetrans"
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn permit(&self) -> BoxFuture<'_, Permit> {
        Box::pin(self.account.permit(&self.pacer))
    }

    fn send<'a>(
        &'a self,
        permit: Permit,
        request: Request<'a>,
        _listener: &'a mut dyn Listener,
    ) -> BoxFuture<'a, Result<Sent, Error>> {
        Box::pin(async move {
            let submitted = permit.settle(hold_if_misdirected(submit(&self.account.client, &request).await));
            submitted.map(|handle| Sent::Accepted { handle })
        })
    }

    fn upload<'a>(
        &'a self,
        model: &'a str,
        content: Content,
        name: &'a str,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(async move {
            let Account { client, policies, .. } = &*self.account;
            let permit = self.account.admission(&self.pacer).await;
            // As often as submits, which it comes before: a service that is away is not asked for one by every recording at once.
            let policy = policies.free(upload::policy(client, model)).await;
            let policy = permit.settle_free(hold_if_misdirected(policy))?;
            upload::store(client, policy, content, name).await
        })
    }

    fn poll<'a>(&'a self, handle: &'a str) -> BoxFuture<'a, Result<Polled, Error>> {
        Box::pin(async move {
            let Account { client, queries, .. } = &*self.account;
            let sent = Instant::now();
            let mut answer = queries.free(query(client, handle)).await;
            self.pacer.learn(sent, &mut answer);
            let mut polled = self.account.reread_if_refused(answer).await?;
            if let Polled::Failed(error) = &mut polled {
                self.pacer.learn_from_task(error);
            }
            Ok(polled)
        })
    }

    fn fetch(&self, ready: Ready) -> BoxFuture<'_, Result<Transcript, Error>> {
        Box::pin(async move {
            let file = result(&self.account.client, &ready).await;
            let file = file.map_err(|error| error.billed(ready.billed_seconds))?;
            // No search for another task has to fetch it again.
            if !file.file_url.is_empty() {
                self.account.known.learn(&ready.handle, &file.file_url);
            }
            Ok(file.into_transcript(ready.billed_seconds))
        })
    }

    fn resolve<'a>(&'a self, lost: Lost<'a>) -> BoxFuture<'a, Result<Resolution, Error>> {
        Box::pin(async move {
            let Account { client, queries, known, silence, .. } = &*self.account;
            let begun = Timestamp::now();
            let found = Search { client, queries, known }.resolve(lost).await;
            let found = self.account.reread_if_refused(found).await;
            let silent = silence.after(found.as_ref().err());
            let waited = begun.duration_since(lost.until.unwrap_or(lost.since)).unsigned_abs();
            match found {
                Err(error) if waited.min(silent) > silence::LONGEST => {
                    warn!(%error, "the task list does not answer; what became of a submit cannot be told");
                    Ok(Resolution::Unknown)
                }
                found => found,
            }
        })
    }

    fn ended<'a>(
        &'a self,
        model: &'a str,
        since: Timestamp,
        handles: &'a HashSet<String>,
    ) -> BoxFuture<'a, Result<HashMap<String, bool>, Error>> {
        Box::pin(async move {
            let Account { client, queries, .. } = &*self.account;
            let ended = list::ended(client, queries, model, since, handles).await;
            self.account.reread_if_refused(ended).await
        })
    }
}

const PATH: &str = "/services/audio/asr/transcription";

/// Longest result file. Twelve hours of speech have some megabytes; without a bound a stranger's file could fill the memory.
const MAX_RESULT_BYTES: usize = 64 << 20;

/// A result that trickles keeps others from being asked for; it is asked for again.
const LONGEST_DOWNLOAD: Duration = Duration::from_secs(300);

async fn submit(client: &Client, request: &Request<'_>) -> Result<String, Error> {
    let Audio::Url(file_url) = request.audio else {
        let message = "filetrans fetches the audio from a URL, and was given bytes";
        return Err(Error::give_up(fault("UploadNotAllowed", Blame::Hark, message.into())));
    };
    // Always with parameters: on the newer hosts a submit without them is accepted and then fails.
    let mut parameters = json!({"channel_id": request.channels, "enable_itn": request.itn});
    if let Some(language) = request.language.filter(|language| !language.is_empty()) {
        parameters["language"] = language.into();
    }
    if let Some(context) = request.context.filter(|context| !context.trim().is_empty()) {
        parameters["corpus"] = json!({"text": context});
    }
    let body = json!({"model": request.model, "input": {"file_url": file_url}, "parameters": parameters});
    let mut call = client.post(PATH, JSON).header("X-DashScope-Async", HeaderValue::from_static("enable"));
    if file_url.starts_with("oss://") {
        call = call.header("X-DashScope-OssResourceResolve", HeaderValue::from_static("enable"));
    }
    let (body, departure) = Outgoing::bytes(body.to_string().into_bytes());
    let answer = client.json(client.http.send(call, body, departure).await?).await?;
    let task_id = answer["output"]["task_id"].as_str().filter(|id| !id.is_empty());
    task_id.map(str::to_owned).ok_or_else(|| missing("task id"))
}

pub(super) async fn query(client: &Client, task_id: &str) -> Result<Polled, Error> {
    let response = client.get(&["tasks", task_id]).send().await.map_err(unanswered)?;
    let (answer, headers) = client.value(response).await.map_err(|error| Error { raw: None, ..error })?;
    // A code beside a status is the task's.
    if answer["output"]["task_status"].as_str().is_none()
        && let Some(error) = refusal_in(&answer, Some(&headers), None)
    {
        return Err(client.key.masked(error));
    }
    match task(task_id, &answer) {
        Ok(Polled::Failed(error)) => Ok(Polled::Failed(client.key.masked(error))),
        outcome => outcome,
    }
}

/// How a task stands by the answer to a query.
fn task(task_id: &str, answer: &Value) -> Result<Polled, Error> {
    let output = &answer["output"];
    let seconds = seconds(&answer["usage"]["seconds"]).unwrap_or(0);
    // The provider's samples compare it in any case; and one that was not understood would be followed for ever.
    let status = output["task_status"].as_str().ok_or_else(|| missing("task_status"))?.to_ascii_uppercase();
    Ok(match status.as_str() {
        "SUCCEEDED" => match transcription_url(output) {
            Some(url) => Polled::Ready(Ready {
                handle: task_id.to_owned(),
                result_url: Secret::new(url),
                billed_seconds: seconds,
            }),
            // The siblings' tasks succeed where what they were made of has failed.
            None if code(answer).is_some() => failed(answer, seconds),
            None => {
                let error = missing("transcription_url in a task that succeeded").billed(seconds);
                return Err(Error { fate: Fate::Taken, ..error }.with_raw(answer.to_string().into_bytes()));
            }
        },
        "FAILED" => failed(answer, seconds),
        "CANCELED" | "CANCELLED" => {
            let message = "the task was canceled at the service by somebody with access to the account";
            Polled::Failed(ended(fault("TaskCanceled", Blame::Account, message.into()), When::Never, seconds))
        }
        "UNKNOWN" => {
            let message = "the service does not know the task any more: expired, or of another account's key";
            Polled::Failed(Error { fate: Fate::Unknown, ..Error::open("TaskUnknown", message) })
        }
        // PENDING, RUNNING, SUSPENDED, and whatever is added: anything but an end.
        _ => Polled::Open,
    })
}

/// Fetches a result and makes segments of it.
pub(super) async fn result(client: &Client, ready: &Ready) -> Result<ResultFile, Error> {
    // The call's time is for its beginning: a large result may come over a slow line.
    let url = ready.result_url.reveal();
    let call = tokio::time::timeout(client.http.timeouts.call, client.http.storage.get(url).send());
    let mut response = call
        .await
        .map_err(|_| Error::open("NoAnswer", "the result's host did not answer in time"))?
        .map_err(unanswered)?;
    let status = response.status().as_u16();
    match status {
        200 => {}
        403 | 404 | 410 => {
            let message = format!(
                "the result's host answered HTTP status {status}: its 24 hours are over, or its file was removed"
            );
            return Err(Error {
                fate: Fate::Taken,
                when: When::Never,
                ..Error::open("ResultGone", &message)
            });
        }
        _ => {
            let message = format!("the result's host answered HTTP status {status}");
            return Err(Error::open("NoResult", &message));
        }
    }
    let mut body = Vec::new();
    let download = client.http.body(&mut response, &mut body, MAX_RESULT_BYTES);
    tokio::time::timeout(LONGEST_DOWNLOAD, download).await.unwrap_or_else(|_| {
        let seconds = LONGEST_DOWNLOAD.as_secs();
        Err(Error::open("NoAnswer", &format!("the result took longer than {seconds} s")))
    })?;
    // Some megabytes of JSON are too much for a thread that others wait for. The parser's words could quote the text.
    let read = tokio::task::spawn_blocking(move || {
        ResultFile::read(&body).map_err(|_| {
            let message =
                "the result is not the JSON that the service documents; it is kept with the attempt";
            Error { fate: Fate::Taken, ..Error::open("UnreadableResult", message) }.with_raw(body)
        })
    });
    read.await.map_err(|_| Error::open("NoResult", "the reader of the result ended"))?
}

/// The error of a task that has ended.
fn ended(fault: Fault, when: When, seconds: u64) -> Error {
    let error = Error::new(fault, Fate::Refused, when);
    // What was charged is not repeated as often as what was refused.
    if seconds == 0 { error } else { error.after_work(seconds) }
}

fn failed(answer: &Value, seconds: u64) -> Polled {
    let code = code(answer);
    let message = told(answer, "message").next().unwrap_or_default();
    if code.is_some_and(means_silence) {
        return Polled::Heard(Transcript { billed_seconds: seconds, ..Transcript::default() });
    }
    let refusal = Refusal { code: Some(code.unwrap_or("TaskFailed")), message, ..Refusal::default() };
    let error = refusal.into_error();
    let when = match error.when {
        // The task met a limit inside the service; no queue of ours learns from that, and another task is counted.
        When::Throttled { wait } => When::Passed { hint: wait, at_most: ALWAYS },
        when => when,
    };
    Polled::Failed(Error { answered: true, ..ended(error.fault, when, seconds) })
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
                let Ok(Polled::Ready(ready)) = task("t", &answer) else { panic!("{answer}") };
                assert_eq!((ready.result_url.reveal(), ready.billed_seconds), (URL, 3));
            }
        }
        for nowhere in [json!(null), json!([]), json!(""), json!("done"), json!({"transcription_url": ""})] {
            let answer =
                json!({"code": "Success", "output": {"task_status": "SUCCEEDED", "result": nowhere}});
            let error = task("t", &answer).unwrap_err();
            assert!(error.is_unreadable() && error.raw.is_some(), "{answer}");
        }
    }

    #[test]
    fn a_word_of_success_is_no_reason_of_a_failure() {
        let answer = json!({"code": "Success", "output": {"task_status": "FAILED", "code": "Success", "result": {"code": "DECODE_ERROR"}}});
        let Ok(Polled::Failed(error)) = task("t", &answer) else { panic!("{answer}") };
        assert_eq!(error.fault.code, "DECODE_ERROR");
    }

    #[test]
    fn a_task_that_succeeded_may_tell_why_there_is_no_result() {
        let of = |result: Value| {
            let answer =
                json!({"output": {"task_status": "SUCCEEDED", "results": [result]}, "usage": {"seconds": 0}});
            task("t", &answer)
        };
        let silence = of(json!({"subtask_status": "FAILED", "code": "SUCCESS_WITH_NO_VALID_FRAGMENT"}));
        assert!(matches!(silence, Ok(Polled::Heard(_))), "{silence:?}");
        let broken = of(json!({"subtask_status": "FAILED", "code": "DECODE_ERROR", "message": "x"}));
        let Ok(Polled::Failed(broken)) = broken else { panic!("{broken:?}") };
        assert_eq!((&*broken.fault.code, broken.when), ("DECODE_ERROR", When::Never));
        assert!(of(json!({"subtask_status": "SUCCEEDED"})).unwrap_err().is_unreadable());
    }
}
