//! `harkd submit` and `harkd tail` against a real server, without a daemon: the tests publish the daemon's events themselves.

mod submit;
mod tail;

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{CEILING, Hark, NatsServer, Process, Setup, harkd, wait_until};
use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use tempfile::TempDir;

const JOB: &str = "01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c";

#[tokio::test]
async fn both_commands_end_with_69_when_no_server_answers() {
    let mut nats = NatsServer::start().await;
    let url = nats.url();
    nats.kill();
    let stage = Stage::on_bare(nats);
    for command in [["tail", "--all"].as_slice(), &["submit", "https://example.com/a.wav"]] {
        let output = stage.run(command);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains(url.trim_start_matches("nats://")), "{words}");
    }
}

/// A server, and a config with its address and one NATS source.
struct Stage {
    nats: NatsServer,
    setup: Setup,
    folder: TempDir,
    config: PathBuf,
}

impl Stage {
    async fn with_streams() -> Stage {
        Stage::on(NatsServer::start().await).await
    }

    async fn on(nats: NatsServer) -> Stage {
        let stage = Stage::on_bare(nats);
        stage.create_streams().await;
        stage
    }

    fn on_bare(nats: NatsServer) -> Stage {
        let setup = Hark::new().nats(&nats).inbox("inbox", "hark.audio.inbox");
        let config = setup.write_config();
        Stage { nats, setup, folder: tempfile::tempdir().unwrap(), config }
    }

    async fn create_streams(&self) {
        let jetstream = self.jetstream().await;
        let events = ["job.>", "transcript.final.>"].map(|tail| format!("hark.event.{tail}")).to_vec();
        for (name, subjects) in [("HARK_EVENTS", events), ("HARK_AUDIO", vec!["hark.audio.>".into()])] {
            let config = jetstream::stream::Config { name: name.into(), subjects, ..Default::default() };
            jetstream.create_stream(config).await.unwrap();
        }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.setup.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(harkd());
        command.arg("--config").arg(&self.config).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Process {
        Process::start(arguments[0], &mut self.command(arguments), self.folder.path())
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.nats.client().await)
    }

    async fn audio_stream(&self) -> jetstream::stream::Stream {
        self.jetstream().await.get_stream("HARK_AUDIO").await.unwrap()
    }

    async fn stored_audio(&self, sequence: u64) -> jetstream::message::StreamMessage {
        let stream = self.audio_stream().await;
        let mut message = None;
        wait_until("the audio message", CEILING, async || {
            message = stream.get_raw_message(sequence).await.ok();
            message.is_some()
        })
        .await;
        message.unwrap()
    }

    async fn message_id_of_audio(&self, sequence: u64) -> String {
        self.stored_audio(sequence).await.headers.get("Nats-Msg-Id").unwrap().as_str().to_owned()
    }

    /// Publishes as the daemon does: stored events through JetStream, partials as plain messages.
    async fn publish(&self, kind: &str, number: u64, body: Value) {
        let job = body["job"].as_str().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        headers.insert("ce-type", format!("hark.{kind}"));
        headers.insert("ce-id", format!("{job}:{number}"));
        let subject = format!("hark.event.{kind}.inbox.{job}");
        let payload = body.to_string().into();
        if kind == "transcript.partial" {
            let client = self.nats.client().await;
            client.publish_with_headers(subject, headers, payload).await.unwrap();
            client.flush().await.unwrap();
        } else {
            self.jetstream()
                .await
                .publish_with_headers(subject, headers, payload)
                .await
                .unwrap()
                .await
                .unwrap();
        }
    }
}

fn common(message_id: &str) -> Value {
    json!({
        "job": JOB, "source": "inbox", "sequence": 1, "time": "2026-11-23T08:15:02Z", "metadata": {},
        "recording": {"uri": "nats:HARK_AUDIO/1", "name": "call.wav", "sha256": null, "bytes": null, "format": null,
                      "duration_ms": null, "channels": null, "message_id": message_id},
    })
}

fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn transcript(message_id: &str, text: &str) -> Value {
    let fields = json!({"engine": "flash", "model": "m", "text": text, "language": "en", "emotion": "happy", "segments": [],
                        "usage": {"seconds": 1}});
    with(common(message_id), fields)
}

fn completed(message_id: &str) -> Value {
    with(
        common(message_id),
        json!({"audio_seconds": 1.0, "billed_seconds": 1, "cost_usd": 0.000035, "elapsed_ms": 5}),
    )
}

fn failed(message_id: &str, job: &str) -> Value {
    let error =
        json!({"code": "DECODE_ERROR", "blame": "audio", "message": "cannot be decoded", "attempts": 1});
    let mut body = with(
        common(message_id),
        json!({"error": error, "audio_seconds": null, "billed_seconds": 0, "cost_usd": 0.0, "elapsed_ms": 5}),
    );
    body["job"] = job.into();
    if job != JOB {
        body["recording"]["uri"] = "nats:HARK_AUDIO/77".into();
    }
    body
}
