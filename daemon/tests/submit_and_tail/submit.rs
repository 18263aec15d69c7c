//! `harkd submit`: audio and references on the way to a source, and the wait for their jobs.

use super::{JOB, Stage, common, completed, failed, transcript, with};
use crate::support::{CEILING, NatsServer, wait_until, wav};
use serde_json::{Value, json};

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
