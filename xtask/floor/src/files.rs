//! The bare loop: reads, hashes, sends, publishes. No ledger, no plugins, no retry, no watching; if it is killed, work under way is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::event::{body, headers, recording, subject};

const MODEL: &str = "qwen3-asr-flash";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Base of the service's API
    #[arg(long)]
    api: String,
    #[arg(long)]
    folder: PathBuf,
    /// Waits until the folder holds so many
    #[arg(long)]
    files: usize,
    /// Requests in flight
    #[arg(long)]
    concurrency: usize,
}

struct Service {
    http: reqwest::Client,
    url: String,
    nats: async_nats::Client,
    jetstream: jetstream::Context,
}

/// Runs until it is killed, so that the benchmark can read its CPU and memory before.
pub(crate) async fn run(nats: async_nats::Client, options: Options) -> anyhow::Result<()> {
    // A second call would be refused; there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let jetstream = jetstream::new(nats.clone());
    let subjects = ["job.>", "annotation.>", "transcript.final.>"].map(|kinds| format!("hark.event.{kinds}"));
    let stream = Config { name: "HARK_EVENTS".into(), subjects: subjects.into(), ..Config::default() };
    jetstream.create_stream(stream).await?;
    let url = format!("{}/services/aigc/multimodal-generation/generation", options.api);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let service = Arc::new(Service { http, url, nats, jetstream });
    println!("ready");
    let files = loop {
        let files: Vec<PathBuf> = std::fs::read_dir(&options.folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        if files.len() >= options.files {
            break files;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let mut done = futures::stream::iter(files)
        .map(|file| tokio::spawn(Arc::clone(&service).recognize(file)))
        .buffer_unordered(options.concurrency);
    while let Some(one) = done.next().await {
        one??;
    }
    std::future::pending().await
}

impl Service {
    async fn recognize(self: Arc<Self>, file: PathBuf) -> anyhow::Result<()> {
        let job = Uuid::now_v7();
        let audio = tokio::fs::read(&file).await?;
        let hash: String = Sha256::digest(&audio).iter().map(|byte| format!("{byte:02x}")).collect();
        let name = file.file_name().map(Path::new).unwrap_or(&file).display().to_string();
        let recording = recording(&name, &hash, audio.len());
        let mut told = Told { service: &self, job, recording, sequence: 0, acknowledgements: Vec::new() };
        told.store("job.accepted", json!({"route": "default"})).await?;

        let request = json!({
            "model": MODEL,
            "input": {"messages": [{"role": "user", "content": [
                {"audio": format!("data:audio/wav;base64,{}", STANDARD.encode(&audio))},
            ]}]},
            "parameters": {
                "result_format": "message", "incremental_output": true, "asr_options": {"enable_itn": false},
            },
        });
        let answer = self
            .http
            .post(&self.url)
            .bearer_auth("sk-bench")
            .header("X-DashScope-SSE", "enable")
            .json(&request)
            .send()
            .await?
            .error_for_status()?;
        drop((audio, request));
        told.store("job.submitted", json!({"engine": "flash", "model": MODEL})).await?;
        let text = told.follow(answer).await?;
        let segment = json!({
            "channel": 0, "begin_ms": 0, "end_ms": 10_000, "timing": "chunk", "language": "en",
            "emotion": "neutral", "text": text,
        });
        let last = json!({
            "engine": "flash", "model": MODEL, "text": text, "language": "en", "emotion": "neutral",
            "segments": [segment], "usage": {"seconds": 10},
        });
        told.store("transcript.final", last).await?;
        told.store("annotation.language", json!({"channel": 0, "value": "en"})).await?;
        told.store("annotation.emotion", json!({"channel": 0, "value": "neutral"})).await?;
        let end = json!({"audio_seconds": 10.0, "billed_seconds": 10, "cost_usd": 0.0, "elapsed_ms": 0});
        told.store("job.completed", end).await?;
        for acknowledgement in told.acknowledgements {
            acknowledgement.await?;
        }
        Ok(())
    }
}

struct Told<'a> {
    service: &'a Service,
    job: Uuid,
    recording: Value,
    sequence: u64,
    acknowledgements: Vec<jetstream::context::PublishAckFuture>,
}

impl Told<'_> {
    async fn store(&mut self, kind: &str, own: Value) -> anyhow::Result<()> {
        self.sequence += 1;
        let message = jetstream::message::PublishMessage::build()
            .headers(headers(kind, self.job, &self.sequence.to_string()))
            .payload(body(self.job, &self.recording, own).into());
        let sent = self.service.jetstream.send_publish(subject(kind, self.job), message).await?;
        self.acknowledgements.push(sent);
        Ok(())
    }

    /// Publishes the text as it grows; gives it whole.
    async fn follow(&self, mut answer: reqwest::Response) -> anyhow::Result<String> {
        const KIND: &str = "transcript.partial";
        let (mut unread, mut text, mut revision) = (String::new(), String::new(), 0);
        while let Some(bytes) = answer.chunk().await? {
            unread.push_str(std::str::from_utf8(&bytes)?);
            while let Some(end) = unread.find("\n\n") {
                let event: String = unread.drain(..end + 2).collect();
                let data = event.lines().find_map(|line| line.strip_prefix("data:")).context("no data")?;
                let data: Value = serde_json::from_str(data)?;
                let choice = &data["output"]["choices"][0];
                if choice["finish_reason"] == "stop" {
                    return Ok(text);
                }
                let Some(piece) = choice["message"]["content"][0]["text"].as_str() else { continue };
                text.push_str(piece);
                revision += 1;
                let own = json!({"revision": revision, "channel": 0, "begin_ms": 0, "text": text});
                let headers = headers(KIND, self.job, &format!("p{revision}"));
                let body = body(self.job, &self.recording, own);
                self.service.nats.publish_with_headers(subject(KIND, self.job), headers, body.into()).await?;
            }
        }
        ensure!(unread.is_empty(), "half an event");
        bail!("the stream ended without stop")
    }
}
