//! `harkd submit` and `harkd tail` against a real server, without a daemon: the tests publish the daemon's events themselves.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{CEILING, Hark, NatsServer, Process, Setup, harkd, wait_until, wav};
use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use tempfile::TempDir;

const JOB: &str = "01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c";

#[tokio::test]
async fn submit_stores_the_bytes_with_name_type_and_metadata() {
    let stage = Stage::with_streams().await;
    let file = stage.file("call.wav", &wav(1.0, 1));
    let output = stage.run(&["submit", "--json", "--meta", "agent_id=7", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(receipt["stream"], "HARK_AUDIO");
    let message = stage.stored_audio(receipt["sequence"].as_u64().unwrap()).await;
    assert_eq!(message.payload, wav(1.0, 1));
    assert_eq!(message.subject.as_str(), "hark.audio.inbox");
    let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(header("Content-Type").as_deref(), Some("audio/wav"));
    assert_eq!(header("Hark-Name").as_deref(), Some("call.wav"));
    assert_eq!(header("Hark-Meta-Agent-Id").as_deref(), Some("7"));
    assert_eq!(header("Nats-Msg-Id").as_deref(), receipt["message_id"].as_str());
}

#[tokio::test]
async fn submit_sends_an_address_as_a_reference() {
    let stage = Stage::with_streams().await;
    let output = stage.run(&["submit", "--json", "https://example.com/a.wav"]);
    assert!(output.status.success(), "{output:?}");
    let message = stage.stored_audio(1).await;
    assert_eq!(
        serde_json::from_slice::<Value>(&message.payload).unwrap(),
        json!({"url": "https://example.com/a.wav"})
    );
    assert_eq!(message.headers.get("Content-Type").unwrap().as_str(), "application/json");
}

#[tokio::test]
async fn submit_takes_standard_input_odd_names_and_schemes_in_capitals() {
    use std::os::unix::ffi::OsStrExt;
    let stage = Stage::with_streams().await;
    let odd = stage.setup.path("").join(std::ffi::OsStr::from_bytes(b"caf\xe9.wav"));
    std::fs::write(&odd, wav(1.0, 1)).unwrap();
    let mut command = stage.command(&["submit", "-", "HTTPS://example.com/A.wav"]);
    let piped = std::fs::File::open(stage.file("piped.wav", &wav(1.0, 2))).unwrap();
    let output = command.arg(&odd).stdin(piped).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (piped, address, odd) =
        (stage.stored_audio(1).await, stage.stored_audio(2).await, stage.stored_audio(3).await);
    assert_eq!(piped.payload, wav(1.0, 2));
    assert_eq!(piped.headers.get("Hark-Name"), None);
    assert_eq!(address.payload, br#"{"url":"HTTPS://example.com/A.wav"}"#.as_slice());
    assert_eq!(odd.payload, wav(1.0, 1));
    assert_eq!(odd.headers.get("Hark-Name").unwrap().as_str(), "caf\u{fffd}.wav");
}

#[tokio::test]
async fn submit_puts_a_file_that_is_larger_than_a_message_into_the_bucket_of_uploads() {
    let nats = NatsServer::configured("max_payload: 65536").await;
    let stage = Stage::on(nats).await;
    let small = stage.file("small.wav", &wav(1.0, 1));
    let large = stage.file("large.wav", &wav(10.0, 2));
    let both = ["submit", "--meta", "agent_id=7", small.to_str().unwrap(), large.to_str().unwrap()];

    // A source that takes no uploads: the file cannot be sent, and then none is.
    let config = std::fs::read_to_string(&stage.config).unwrap();
    std::fs::write(&stage.config, config.replace("kind = \"nats\"", "kind = \"nats\"\nallow_buckets = []"))
        .unwrap();
    let output = stage.run(&both);
    assert_eq!(output.status.code(), Some(64));
    let words = String::from_utf8_lossy(&output.stderr);
    for word in ["large.wav", "max_payload", "watched folder", "allow_buckets"] {
        assert!(words.contains(word), "{words}");
    }
    assert_eq!(stage.audio_stream().await.get_info().await.unwrap().state.messages, 0, "all or nothing");

    std::fs::write(&stage.config, config).unwrap();
    let output = stage.run(&both);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stage.stored_audio(1).await.payload, wav(1.0, 1));
    let reference = stage.stored_audio(2).await;
    let header = |name: &str| reference.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(
        [header("Content-Type"), header("Hark-Name"), header("Hark-Meta-Agent-Id")],
        ["application/json", "large.wav", "7"]
    );
    let place: Value = serde_json::from_slice(&reference.payload).unwrap();
    assert_eq!(place["object"]["bucket"], "HARK_UPLOADS");
    let uploads = stage.jetstream().await.get_object_store("HARK_UPLOADS").await.unwrap();
    let mut object = uploads.get(place["object"]["name"].as_str().unwrap()).await.unwrap();
    let mut audio = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut object, &mut audio).await.unwrap();
    assert_eq!(audio, wav(10.0, 2));
}

#[tokio::test]
async fn submit_names_the_missing_stream() {
    let stage = Stage::on_bare(NatsServer::start().await);
    let file = stage.file("call.wav", &wav(1.0, 1));
    let output = stage.run(&["submit", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no stream captures hark.audio.inbox"),
        "{output:?}"
    );
}

#[tokio::test]
async fn submit_refuses_what_is_no_file_and_sources_that_are_not() {
    let stage = Stage::on_bare(NatsServer::start().await);
    assert_eq!(stage.run(&["submit", "/nowhere/call.wav"]).status.code(), Some(64));
    assert_eq!(stage.run(&["submit", "--meta", "Agent", "https://example.com/a"]).status.code(), Some(64));
    assert_eq!(stage.run(&["submit", "--source", "outbox", "https://example.com/a"]).status.code(), Some(64));
    assert_eq!(stage.run(&["submit"]).status.code(), Some(64));
}

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

#[tokio::test]
async fn submit_waits_for_its_job_and_prints_the_transcript() {
    let stage = Stage::with_streams().await;
    let file = stage.file("call.wav", &wav(1.0, 1));
    let waiting = stage.start(&["submit", "--wait", file.to_str().unwrap()]);
    let id = stage.message_id_of_audio(1).await;
    // Another's job, which ends first, and then ours, with an event of a later daemon.
    stage.publish("job.failed", 1, failed("somebody-elses", "01936f4e-5f0a-7c3e-8c1d-000000000000")).await;
    stage.publish("job.future", 2, with(common(&id), json!({"of_the_future": 1}))).await;
    stage.publish("transcript.final", 3, transcript(&id, "hello there")).await;
    stage.publish("job.completed", 4, completed(&id)).await;
    let mut waiting = waiting;
    let status = waiting.ended(CEILING).await;
    assert!(status.success(), "{}", waiting.log());
    assert_eq!(waiting.log(), "call.wav: hello there\n");
}

#[tokio::test]
async fn submit_that_waits_says_why_each_time() {
    let stage = Stage::with_streams().await;
    let file = stage.file("call.wav", &wav(1.0, 1));
    let mut waiting = stage.start(&["submit", "--wait", file.to_str().unwrap()]);
    let id = stage.message_id_of_audio(1).await;
    let retrying = |attempt: u32, code: &str| {
        let error = json!({"code": code, "blame": "account", "message": "put a key there"});
        with(common(&id), json!({"attempt": attempt, "error": error, "retry_in_ms": 2500}))
    };
    stage.publish("job.retrying", 1, retrying(1, "InvalidApiKey")).await;
    stage.publish("job.retrying", 2, retrying(2, "Arrearage")).await;
    let said = |code: &str| format!("call.wav: {code} (account): put a key there; again in 2.5 s\n");
    wait_until("both to be said", CEILING, async || {
        waiting.log().contains(&said("InvalidApiKey")) && waiting.log().contains(&said("Arrearage"))
    })
    .await;
    assert!(waiting.is_running());
    stage.publish("transcript.final", 3, transcript(&id, "hello there")).await;
    stage.publish("job.completed", 4, completed(&id)).await;
    assert!(waiting.ended(CEILING).await.success());
}

#[tokio::test]
async fn submit_that_waits_ends_with_1_when_the_job_failed() {
    let stage = Stage::with_streams().await;
    let file = stage.file("call.wav", &wav(1.0, 1));
    let mut waiting = stage.start(&["submit", "--wait", file.to_str().unwrap()]);
    let id = stage.message_id_of_audio(1).await;
    stage.publish("job.failed", 1, failed(&id, JOB)).await;
    assert_eq!(waiting.ended(CEILING).await.code(), Some(1));
    assert!(waiting.log().contains("call.wav: DECODE_ERROR (audio): cannot be decoded"), "{}", waiting.log());
}

#[tokio::test]
async fn tail_shows_stored_events_and_partials() {
    let stage = Stage::with_streams().await;
    let mut tail = stage.start(&["tail"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    let partial = with(common("m"), json!({"revision": 1, "channel": 0, "begin_ms": 0, "text": "hello"}));
    stage.publish("transcript.partial", 1, partial).await;
    wait_until("the partial", CEILING, async || tail.log().contains("…         hello")).await;
    stage.publish("transcript.final", 1, transcript("m", "hello there")).await;
    wait_until("the final", CEILING, async || tail.log().contains("final     hello there (en, happy)")).await;
    assert!(!tail.log().contains('\x1b'), "no colours without a terminal");
    assert!(tail.is_running());
}

#[tokio::test]
async fn tail_filters_and_prints_json_from_the_beginning() {
    let stage = Stage::with_streams().await;
    stage.publish("transcript.final", 1, transcript("m", "hello there")).await;
    stage.publish("job.completed", 2, completed("m")).await;
    let tail = stage.start(&["tail", "--all", "--json", "--kind", "job", "--source", "inbox", "--job", JOB]);
    wait_until("the last event", CEILING, async || tail.log().contains("hark.job.completed")).await;
    assert!(!tail.log().contains("hello there"));
    let log = tail.log();
    let line: Value = serde_json::from_str(log.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert_eq!(line["subject"], format!("hark.event.job.completed.inbox.{JOB}"));
    assert_eq!(line["id"], format!("{JOB}:2"));
    assert_eq!(line["billed_seconds"], 1);
}

#[tokio::test]
async fn tail_reports_a_source_that_is_not_in_the_config() {
    let stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--source", "inbox", "--source", "inbax"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    assert!(tail.log().contains("no source \"inbax\", it has inbox"), "{}", tail.log());
    assert!(!tail.log().contains("no source \"inbox\""), "{}", tail.log());
}

#[tokio::test]
async fn tail_says_of_a_job_that_is_over_or_not_there_that_it_waits() {
    const OTHER: &str = "01936f4e-5f0a-7c3e-8c1d-000000000000";
    let stage = Stage::with_streams().await;
    stage.publish("job.completed", 1, completed("m")).await;
    let tail = stage.start(&["tail", "--job", JOB, "--job", OTHER]);
    wait_until("both to be said", CEILING, async || {
        let log = tail.log();
        log.contains(&format!("job {JOB} ended with job.completed at "))
            && log.contains("--all shows its events")
            && log.contains(&format!("job {OTHER}: the stream HARK_EVENTS has no event of it"))
    })
    .await;
    let output = stage.run(&["tail", "--job", "call.wav"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a job's id looks like"), "{output:?}");
}

#[tokio::test]
async fn tail_shows_what_a_later_daemon_says() {
    let stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--all"]);
    stage.publish("job.future", 1, with(common("m"), json!({"of_the_future": 1}))).await;
    stage
        .publish("transcript.final", 2, with(transcript("m", "hello there"), json!({"of_the_future": 1})))
        .await;
    wait_until("both events", CEILING, async || {
        tail.log().contains("job.future {") && tail.log().contains("hello there")
    })
    .await;
}

#[tokio::test]
async fn tail_goes_on_where_it_stopped_when_the_server_comes_back() {
    let mut stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--json"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    stage.publish("transcript.final", 1, transcript("m", "before")).await;
    wait_until("the first event", CEILING, async || tail.log().contains("before")).await;
    stage.nats.restart().await;
    stage.publish("job.completed", 2, completed("m")).await;
    wait_until("the event after the restart", CEILING, async || tail.log().contains("hark.job.completed"))
        .await;
    assert_eq!(tail.log().matches("hark.transcript.final").count(), 1, "nothing twice");
}

#[tokio::test]
async fn tail_waits_for_a_stream_that_is_not_there_yet() {
    let stage = Stage::on_bare(NatsServer::start().await);
    let tail = stage.start(&["tail", "--json"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    stage.create_streams().await;
    stage.publish("job.completed", 1, completed("m")).await;
    wait_until("the first event", CEILING, async || tail.log().contains("hark.job.completed")).await;
}

#[tokio::test]
async fn tail_follows_a_stream_that_was_deleted_and_made_again() {
    let stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--json"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    for sequence in 1..=3 {
        stage.publish("transcript.final", sequence, transcript("m", &format!("old {sequence}"))).await;
    }
    wait_until("the old events", CEILING, async || tail.log().contains("old 3")).await;
    for stream in ["HARK_EVENTS", "HARK_AUDIO"] {
        stage.jetstream().await.delete_stream(stream).await.unwrap();
    }
    stage.create_streams().await;
    stage.publish("transcript.final", 1, transcript("m", "new 1")).await;
    wait_until("the new event", CEILING, async || tail.log().contains("new 1")).await;
    stage.publish("job.completed", 2, completed("m")).await;
    wait_until("the next event", CEILING, async || tail.log().contains("hark.job.completed")).await;
    assert_eq!(tail.log().matches("hark.transcript.final").count(), 4, "nothing twice");
}

#[tokio::test]
async fn tail_lists_the_kinds_that_there_are() {
    let stage = Stage::on_bare(NatsServer::start().await);
    let output = stage.run(&["tail", "--kind", "transcripts"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("transcript.final"), "{output:?}");
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
