//! The recognizer against the stand-in for the service, and against servers that are ruder than that.
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod connections;
mod faults;
mod flash;
mod listing;
mod packed;
mod tasks;
mod upload;
mod wording;

use std::path::Path;

use dashscope_emulator::text_for;
use hark_sdk::event::{Engine, Recording};
use harkd::config::{Dashscope, Secret};
use harkd::job::{FileIdentity, Job, Origin};
use harkd::recognize::{Audio, Content, Error, FlashRequest, Listener, Recognizer, Timeouts};
use harkd::telemetry::metrics::Metrics;
use sha2::{Digest, Sha256};
use std::time::Duration;
use support::Emulator;
use tempfile::TempDir;

pub(crate) const FLASH: &str = "qwen3-asr-flash";
pub(crate) const FILETRANS: &str = "qwen3-asr-flash-filetrans";

/// A recognizer before an emulator with these flags.
pub(crate) struct Bench {
    pub(crate) service: Emulator,
    pub(crate) recognizer: Recognizer,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) async fn start(flags: &[&str]) -> Bench {
        let service = Emulator::start(flags).await;
        let recognizer = recognizer(service.api(), 0);
        Bench { service, recognizer, folder: tempfile::tempdir().unwrap() }
    }

    /// One flash request for a file, and what the listener heard.
    pub(crate) async fn flash(&self, job: &Job) -> (Result<harkd::job::Transcript, Error>, Heard) {
        flash(&self.recognizer, job, self.folder.path(), true).await
    }

    pub(crate) fn entries(&self, kind: &str) -> Vec<serde_json::Value> {
        self.service.journal().into_iter().filter(|entry| entry["kind"] == kind).collect()
    }
}

/// No patience at all: what stands still for a second is gone.
pub(crate) fn recognizer(api: &str, requests_per_minute: u32) -> Recognizer {
    let config = Dashscope {
        base_url: api.to_owned(),
        requests_per_minute,
        task_queries_per_second: 200,
        ..Dashscope::default()
    };
    let second = Duration::from_secs(1);
    let timeouts = Timeouts { idle: second, silence: second, ..Timeouts::default() };
    Recognizer::with_timeouts(&config, Secret::new("sk-test-0123456789"), None, Metrics::new(), timeouts)
        .unwrap()
}

pub(crate) async fn flash(
    recognizer: &Recognizer,
    job: &Job,
    folder: &Path,
    partials: bool,
) -> (Result<harkd::job::Transcript, Error>, Heard) {
    let request = FlashRequest {
        model: FLASH,
        audio: Audio::Inline { content: Content::of(job, folder).unwrap(), format: "wav" },
        language: None,
        context: Some("names: \"Ada\", \\ 你好"),
        itn: true,
        partials,
        duration_ms: job.recording.duration_ms,
    };
    let mut heard = Heard::default();
    let turn = recognizer.turn(Engine::Flash).await;
    let outcome = recognizer.flash(turn, request, &mut heard).await;
    (outcome, heard)
}

#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) taken: u32,
    pub(crate) texts: Vec<String>,
}

impl Listener for Heard {
    fn on_taken(&mut self) {
        assert!(self.texts.is_empty(), "text before the service had taken the request");
        self.taken += 1;
    }

    fn on_text(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }
}

/// A job for a file with this content.
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

pub(crate) fn sha256(audio: &[u8]) -> String {
    Sha256::digest(audio).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn text_of(audio: &[u8]) -> String {
    text_for(&sha256(audio))
}
