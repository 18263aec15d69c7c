//! `filetrans`: a task for up to twelve hours of audio. Submit, ask, fetch the result.

use std::time::Duration;

use hark_sdk::event::{Blame, Fault, Segment, Timing};
use hark_sdk::plain::Plain;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{missing, refusal_in};
use super::body::Outgoing;
use super::client::{Client, JSON, unanswered};
use super::error::{Error, Verdict};
use super::json;
use super::verdict::{Refusal, means_silence};
use crate::job::Transcript;

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

/// Latest time in a recording that is believed, in milliseconds: seven days, far beyond the service's twelve hours.
const LATEST_MS: f64 = 7.0 * 24.0 * 3600.0 * 1000.0;

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
            None if told(answer, "code").is_some() => failed(answer, seconds),
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
    let body = tokio::time::timeout(LONGEST_DOWNLOAD, client.body(&mut response, MAX_RESULT_BYTES));
    let body = body
        .await
        .unwrap_or_else(|_| {
            let seconds = LONGEST_DOWNLOAD.as_secs();
            Err(Error::again("NoAnswer", &format!("the result took longer than {seconds} s")))
        })
        .map_err(Error::of_a_free_call)?;
    // Some megabytes of JSON are too much for a thread that others wait for. The parser's words could quote the text.
    tokio::task::spawn_blocking(move || json::read(&body))
        .await
        .map_err(|_| Error::again("NoResult", "the reader of the result ended"))?
        .map_err(|_| {
            Error::unknown("UnreadableResult", "the result is not the JSON that the service documents")
        })
}

fn failed(answer: &Value, seconds: u64) -> Task {
    let code = told(answer, "code");
    let message = told(answer, "message").unwrap_or_default();
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

/// What an answer tells of a failure under this name. The siblings' shape has it one floor down, other answers one floor up.
fn told<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let output = &answer["output"];
    let places = [output, &output["result"], &output["results"][0], answer];
    places.iter().filter_map(|place| place[name].as_str()).find(|text| !text.is_empty())
}

fn transcription_url(output: &Value) -> Option<&str> {
    let places = [&output["result"], &output["results"][0]];
    places.iter().find_map(|place| place["transcription_url"].as_str()).filter(|url| !url.is_empty())
}

/// What `usage.seconds` says: an integer by the documents; a fraction is rounded up, as money is. What no recording comes to (less than
/// nothing, more than twelve hours of sixteen channels) is no bill, and says nothing.
pub(crate) fn seconds(value: &Value) -> Option<u64> {
    const MOST: f64 = 16.0 * 12.0 * 3600.0;
    let told = number(value)?;
    if !(0.0..=MOST).contains(&told) {
        tracing::warn!(seconds = told, "the service told a usage that cannot be; it is not counted");
        return None;
    }
    Some(told.ceil() as u64)
}

/// What is read of a result file; word times are not. It is paid for: what is not there, or null, is as good as empty.
#[derive(Debug, Deserialize)]
pub(crate) struct ResultFile {
    /// What was recognized, as the service had its URL.
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) file_url: String,
    #[serde(deserialize_with = "or_empty")]
    transcripts: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    #[serde(default, deserialize_with = "or_unknown")]
    channel_id: Option<f64>,
    #[serde(default, deserialize_with = "or_empty")]
    text: String,
    #[serde(default, deserialize_with = "or_empty")]
    sentences: Vec<Sentence>,
}

#[derive(Debug, Deserialize)]
struct Sentence {
    #[serde(default, deserialize_with = "or_unknown")]
    begin_time: Option<f64>,
    #[serde(default, deserialize_with = "or_unknown")]
    end_time: Option<f64>,
    #[serde(default, deserialize_with = "or_empty")]
    text: String,
    #[serde(default, deserialize_with = "or_untold")]
    language: Option<String>,
    #[serde(default, deserialize_with = "or_untold")]
    emotion: Option<String>,
}

fn or_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// What is no number is not known.
fn or_unknown<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    Ok(number(&Plain::deserialize(value)?.0))
}

/// What is no text tells nothing.
fn or_untold<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Ok(Plain::deserialize(value)?.0.as_str().map(str::to_owned))
}

/// A number, also one that is written as text.
fn number(value: &Value) -> Option<f64> {
    let read = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    read.filter(|number| number.is_finite())
}

impl ResultFile {
    /// The whole text as the service tells it (one line a channel), and the pieces in order of begin and channel, those without times last.
    pub(crate) fn into_transcript(self, billed_seconds: u64) -> Transcript {
        let texts: Vec<String> =
            self.transcripts.iter().map(Channel::whole).filter(|text| !text.is_empty()).collect();
        let text = texts.join("\n");
        let mut segments: Vec<Segment> =
            self.transcripts.into_iter().flat_map(Channel::into_segments).collect();
        segments.sort_by_key(|segment| (segment.begin_ms.unwrap_or(u64::MAX), segment.channel));
        Transcript { text, segments, truncated: false, billed_seconds }
    }
}

impl Channel {
    /// Its text, or what its sentences come to.
    fn whole(&self) -> String {
        match self.text.trim() {
            "" => {
                let sentences = self.sentences.iter().map(|sentence| sentence.text.trim());
                sentences.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
            }
            text => text.to_owned(),
        }
    }

    fn into_segments(self) -> Vec<Segment> {
        let channel = self.channel_id.unwrap_or_default() as u32;
        if self.sentences.is_empty() {
            let whole =
                Sentence { begin_time: None, end_time: None, text: self.text, language: None, emotion: None };
            return if whole.text.trim().is_empty() { Vec::new() } else { vec![whole.into_segment(channel)] };
        }
        self.sentences.into_iter().map(|sentence| sentence.into_segment(channel)).collect()
    }
}

impl Sentence {
    /// Begin and end in milliseconds. Where one of them cannot be, nobody measured the other either.
    fn times(&self) -> Option<(u64, u64)> {
        let (begin, end) = (self.begin_time?, self.end_time?);
        let possible = 0.0 <= begin && begin <= end && end <= LATEST_MS;
        possible.then(|| (begin.round() as u64, end.round() as u64))
    }

    fn into_segment(self, channel: u32) -> Segment {
        let times = self.times();
        Segment {
            channel,
            role: None,
            begin_ms: times.map(|(begin, _)| begin),
            end_ms: times.map(|(_, end)| end),
            timing: if times.is_some() { Timing::Service } else { Timing::None },
            text: self.text,
            language: self.language.filter(|language| !language.is_empty()),
            emotion: self.emotion.filter(|emotion| !emotion.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(result: Value) -> Vec<Segment> {
        serde_json::from_value::<ResultFile>(result).unwrap().into_transcript(0).segments
    }

    #[test]
    fn sentences_of_all_channels_are_in_order_of_begin() {
        let sentence = |begin: u64, end: u64, text: &str| json!({"sentence_id": 0, "begin_time": begin, "end_time": end, "language": "de", "emotion": "neutral", "text": text, "words": []});
        let heard = segments(json!({"file_url": "u", "transcripts": [
            {"channel_id": 0, "text": "a c", "sentences": [sentence(0, 900, "a"), sentence(2000, 2500, "c")]},
            {"channel_id": 1, "text": "b", "sentences": [sentence(1000, 1500, "b")]},
        ]}));
        let shown: Vec<_> =
            heard.iter().map(|segment| (segment.channel, segment.begin_ms, &*segment.text)).collect();
        assert_eq!(shown, [(0, Some(0), "a"), (1, Some(1000), "b"), (0, Some(2000), "c")]);
        assert_eq!(heard[0].timing, Timing::Service);
        assert_eq!(heard[0].language.as_deref(), Some("de"));
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

    #[test]
    fn times_that_nobody_measured_are_not_invented() {
        let heard = segments(json!({"transcripts": [{"channel_id": 0, "text": "whole"}]}));
        assert_eq!((heard[0].begin_ms, heard[0].end_ms, heard[0].timing), (None, None, Timing::None));
        let heard = segments(json!({"transcripts": [{"sentences": [{"begin_time": 5, "text": "a"}]}]}));
        assert_eq!((heard[0].begin_ms, heard[0].timing), (None, Timing::None));
    }

    #[test]
    fn times_that_cannot_be_were_not_measured() {
        let times = |begin: Value, end: Value| {
            let sentence = json!({"begin_time": begin, "end_time": end, "text": "a"});
            let heard = segments(json!({"transcripts": [{"sentences": [sentence]}]})).remove(0);
            assert_eq!(heard.text, "a");
            assert_eq!(heard.timing == Timing::None, heard.begin_ms.is_none());
            heard.begin_ms.zip(heard.end_ms)
        };
        assert_eq!(times(json!(900), json!(900)), Some((900, 900)));
        assert_eq!(times(json!(0), json!(12 * 3600 * 1000)), Some((0, 43_200_000)));
        for (begin, end) in [
            (json!(900), json!(100)),
            (json!(0), json!(1e25)),
            (json!("0"), json!("1e25")),
            (json!(0), json!(u64::MAX)),
            (json!(-5), json!(100)),
            (json!("NaN"), json!(100)),
            (json!(0), json!("inf")),
        ] {
            assert_eq!(times(begin.clone(), end.clone()), None, "{begin} {end}");
        }
    }

    #[test]
    fn what_is_null_is_empty_and_a_channel_without_a_text_has_its_sentences() {
        let result = json!({"file_url": null, "transcripts": [
            {"channel_id": null, "text": null, "sentences": [{"text": "one", "language": null}, {"text": null}, {"text": "two"}]},
            {"channel_id": 1, "text": null, "sentences": null},
        ]});
        let heard = serde_json::from_value::<ResultFile>(result).unwrap().into_transcript(0);
        assert_eq!((heard.text.as_str(), heard.segments.len()), ("one two", 3));
        assert_eq!(segments(json!({"transcripts": null})), []);
        assert!(serde_json::from_value::<ResultFile>(json!({"error": "a gateway's"})).is_err());
    }

    #[test]
    fn a_language_that_is_no_text_costs_no_result() {
        let sentence =
            json!({"begin_time": 0, "end_time": 9, "text": "a", "language": {"code": "de"}, "emotion": 7});
        let heard = segments(json!({"transcripts": [{"sentences": [sentence]}]}));
        assert_eq!((&*heard[0].text, &heard[0].language, &heard[0].emotion), ("a", &None, &None));
    }

    #[test]
    fn numbers_may_be_written_as_text() {
        let heard = segments(json!({"transcripts": [{"channel_id": "1", "sentences": [
            {"begin_time": "5", "end_time": " 7.4 ", "text": "a"}, {"begin_time": "soon", "end_time": 9, "text": "b"},
        ]}]}));
        assert_eq!((heard[0].channel, heard[0].begin_ms, heard[0].end_ms), (1, Some(5), Some(7)));
        assert_eq!((heard[1].begin_ms, heard[1].timing), (None, Timing::None));
        let told =
            ["7", "6.1", "\"7\"", "\"6.5\"", "0"].map(|told| seconds(&serde_json::from_str(told).unwrap()));
        assert_eq!(told, [Some(7), Some(7), Some(7), Some(7), Some(0)]);
    }

    #[test]
    fn a_bill_that_cannot_be_is_none() {
        assert_eq!(seconds(&json!(16 * 12 * 3600)), Some(691_200));
        for told in
            [json!("x"), json!("NaN"), json!(null), json!(-3), json!(691_201), json!(1e30), json!(u64::MAX)]
        {
            assert_eq!(seconds(&told), None, "{told}");
        }
    }

    #[test]
    fn silence_is_no_segment() {
        assert_eq!(segments(json!({"transcripts": []})), []);
        assert_eq!(segments(json!({"transcripts": [{"channel_id": 0, "text": "", "sentences": []}]})), []);
    }
}
