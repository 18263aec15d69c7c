//! The recognizers against the emulator, and against servers with worse faults than the emulator has.

mod account;
mod answers;
mod bucket;
mod connections;
mod faults;
mod flash;
mod listing;
mod tasks;
mod upload;

use std::path::Path;

use crate::support::Emulator;
pub(crate) use crate::support::sha256;
use dashscope_emulator::text_for;
use hark_sdk::event::{Engine, Recording};
use harkd::config::Priority;
use harkd::config::{Config, Dashscope, Secret, Storage};
use harkd::job::{Fate, FileIdentity, Job, Origin, Transcript};
use harkd::recognize::{
    Audio, Content, Error, Hints, Listener, Next, Recognizer, Recognizers, Request, Sent, Timeouts, Tries,
};
use harkd::telemetry::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const FLASH: &str = "qwen3-asr-flash";
pub(crate) const FILETRANS: &str = "qwen3-asr-flash-filetrans";

/// An emulator with these flags, and recognizers that send to it.
pub(crate) struct Bench {
    pub(crate) service: Emulator,
    pub(crate) flash: Arc<dyn Recognizer>,
    pub(crate) filetrans: Arc<dyn Recognizer>,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) async fn start(flags: &[&str]) -> Bench {
        let service = Emulator::start(flags).await;
        let [flash, filetrans] = recognizers(service.api(), 0);
        Bench { service, flash, filetrans, folder: tempfile::tempdir().unwrap() }
    }

    /// One flash request for a file; returns the outcome and what the listener received.
    pub(crate) async fn flash(&self, job: &Job) -> (Result<Transcript, Error>, ReceivedEvent) {
        flash(&*self.flash, job, self.folder.path(), true).await
    }

    pub(crate) fn entries(&self, kind: &str) -> Vec<serde_json::Value> {
        self.service.journal_of(kind)
    }
}

/// Recognizers with timeouts of one second.
pub(crate) fn recognizers(api: &str, requests_per_minute: u32) -> [Arc<dyn Recognizer>; 2] {
    let config = Dashscope {
        base_url: api.to_owned(),
        requests_per_minute,
        task_queries_per_second: 200,
        ..Dashscope::default()
    };
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { idle: second, silence: second };
    let key = Secret::new("sk-test-0123456789");
    both(&built(config, Storage::default(), key, &Metrics::new(), timeouts))
}

/// The recognizers of a config with these tables.
pub(crate) fn built(
    dashscope: Dashscope,
    storage: Storage,
    key: Secret,
    metrics: &Metrics,
    timeouts: Timeouts,
) -> Recognizers {
    let config = Config { dashscope, storage, ..Config::default() };
    Recognizers::of_config(&config, Some(key), &Recognizers::default(), metrics, timeouts).unwrap()
}

/// The recognizers of flash and filetrans.
pub(crate) fn both(recognizers: &Recognizers) -> [Arc<dyn Recognizer>; 2] {
    [Engine::FLASH, Engine::FILETRANS].map(|engine| Arc::clone(recognizers.get(&engine).unwrap()))
}

static NO_HINTS: Hints = Hints { language: None, context: String::new(), hotwords: Vec::new() };

/// A request for this audio, with every other field at its minimum.
pub(crate) fn request<'a>(model: &'static str, audio: Audio<'a>) -> Request<'a> {
    Request {
        model,
        audio,
        format: None,
        channels: &[0],
        hints: &NO_HINTS,
        itn: false,
        words: false,
        speakers: 0,
        partials: true,
        duration_ms: None,
        marker: None,
        clearance: None,
    }
}

/// The transcript of a flash request.
pub(crate) fn heard(sent: Result<Sent, Error>) -> Result<Transcript, Error> {
    sent.map(|sent| match sent {
        Sent::Heard(transcript) => transcript,
        Sent::Accepted { handle } => panic!("a task: {handle}"),
    })
}

/// What the daemon does after an error.
#[derive(Debug, PartialEq)]
pub(crate) enum Leads {
    GiveUp,
    Retry,
    FreeRetry,
    Hold {
        announce: bool,
    },
    /// The service has taken the request or may have; `ambiguous_retries` decides whether it is retried.
    Unknown,
}

pub(crate) fn leads(error: &Error) -> Leads {
    match (error.fate, error.next(Tries::default())) {
        (_, Next::Never) => Leads::GiveUp,
        (Fate::Open | Fate::Taken | Fate::Unknown, _) => Leads::Unknown,
        (_, Next::After { counts: true, .. }) => Leads::Retry,
        (_, Next::After { counts: false, .. }) => Leads::FreeRetry,
        (_, Next::Held { announce, .. }) => Leads::Hold { announce },
    }
}

pub(crate) async fn flash(
    recognizer: &dyn Recognizer,
    job: &Job,
    folder: &Path,
    partials: bool,
) -> (Result<Transcript, Error>, ReceivedEvent) {
    let audio = Audio::Inline { content: Content::of(job, folder).unwrap(), format: "wav" };
    let hints = Hints { context: "names: \"Ada\", \\ 你好".into(), ..Hints::default() };
    let request = Request {
        hints: &hints,
        itn: true,
        partials,
        duration_ms: job.recording.duration_ms,
        ..request(FLASH, audio)
    };
    let mut listener = ReceivedEvent::default();
    let permit = recognizer.permit(Priority::Normal).await;
    let outcome = recognizer.send(permit, request, &mut listener).await;
    (heard(outcome), listener)
}

#[derive(Debug, Default)]
pub(crate) struct ReceivedEvent {
    pub(crate) taken: u32,
    pub(crate) texts: Vec<String>,
}

impl Listener for ReceivedEvent {
    fn on_taken(&mut self) {
        assert!(self.texts.is_empty(), "text before the service had taken the request");
        self.taken += 1;
    }

    fn on_text(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }
}

/// Writes a file with this content, and returns a job for it.
pub(crate) fn job(folder: &Path, name: &str, audio: &[u8]) -> Job {
    let path = folder.join(name);
    std::fs::write(&path, audio).unwrap();
    let identity = FileIdentity::of(&rustix::fs::stat(&path).unwrap());
    let recording = Recording {
        sha256: Some(sha256(audio)),
        bytes: Some(audio.len() as u64),
        format: Some("wav".into()),
        duration_ms: Some(2_000),
        ..Recording::default()
    };
    let id = uuid::Uuid::now_v7();
    let origin = Origin::File { root: folder.to_owned(), below: name.into(), identity };
    Job::new(id, "calls", "default", origin, recording, serde_json::Map::new())
}

pub(crate) fn text_of(audio: &[u8]) -> String {
    text_for(&sha256(audio))
}
