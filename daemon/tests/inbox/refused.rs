//! Messages that are no audio, or cannot be read.

use super::put;
use crate::support::{CEILING, Emulator, Hark, NatsServer, REDELIVERY, unacknowledged, wait_until, wav};
use async_nats::jetstream;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

#[tokio::test]
async fn bad_messages_are_answered_and_harm_nothing_else() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let context = jetstream::new(nats.client().await);
    let json = [("Content-Type", "application/json")];
    put(&context, &[("Content-Type", "audio/wav")], b"garbage, no audio".to_vec()).await;
    put(&context, &json, b"{\"url\": ".to_vec()).await;
    put(&context, &json, br#"{"url": "http://169.254.169.254/latest/meta-data?token=secret"}"#.to_vec())
        .await;
    put(&context, &json, br#"{"url": "https://127.0.0.1/a.wav"}"#.to_vec()).await;
    put(&context, &json, br#"{"url": "https://example.com/a.wav", "route": "nowhere"}"#.to_vec()).await;
    put(&context, &[], Vec::new()).await;
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 5)).await;

    let ended = hark.ended_jobs(7).await;
    let mut codes: Vec<String> = ended
        .iter()
        .map(|event| event.body["error"]["code"].as_str().unwrap_or("completed").to_owned())
        .collect();
    codes.sort();
    assert_eq!(
        codes,
        [
            "BadReference",
            "EmptyFile",
            "ForbiddenRoute",
            "ForbiddenURL",
            "ForbiddenURL",
            "NotAudio",
            "completed"
        ]
    );
    for event in ended.iter().filter(|event| event.kind() == "job.failed") {
        assert_eq!(event.body["error"]["blame"], "audio", "{}", event.body);
        assert!(!event.body.to_string().contains("secret"), "{}", event.body);
    }
    wait_until("every message to be settled", CEILING, async || unacknowledged(&context).await == 0).await;
    assert!(!hark.log().contains("secret"));
}

#[tokio::test]
async fn a_large_json_message_takes_no_more_memory_than_its_bytes() {
    let nats = NatsServer::configured("max_payload: 30MB").await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let numbers = "0,".repeat(12 << 20);
    let message = format!(r#"{{"url": "https://example.com/a.wav", "metadata": {{"n": [{numbers}0]}}}}"#);
    put(&jetstream::new(nats.client().await), &[], message.into_bytes()).await;
    assert_eq!(hark.ended_jobs(1).await[0].body["error"]["blame"], "audio");
    let status = std::fs::read_to_string(format!("/proc/{}/status", hark.process().id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 256 << 10, "{kilobytes} kB at most");
}

/// Publishes raw header bytes that a client library would not send.
async fn put_raw(nats: &NatsServer, head: &[u8], payload: &[u8]) {
    let mut stream = tokio::net::TcpStream::connect(nats.url().trim_start_matches("nats://")).await.unwrap();
    let (size, total) = (head.len(), head.len() + payload.len());
    let frame =
        format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB hark.audio.inbox {size} {total}\r\n");
    let bytes = [frame.as_bytes(), head, payload, b"\r\nPING\r\n"].concat();
    stream.write_all(&bytes).await.unwrap();
    let mut answers = tokio::io::BufReader::new(stream).lines();
    while let Some(line) = answers.next_line().await.unwrap() {
        assert!(!line.starts_with("-ERR"), "{line}");
        if line == "PONG" {
            return;
        }
    }
    panic!("the server hung up");
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_answered_once_and_hold_nothing_up() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let context = jetstream::new(nats.client().await);
    for head in [
        &b"NATS/1.0\r\nCall Name: a\r\n\r\n"[..],
        b"NATS/1.0\r\nHark-Name: \xff\xfe\r\n\r\n",
        b"NATS/1.0\r\nno colon here\r\n\r\n",
    ] {
        put_raw(&nats, head, b"speech of a caller").await;
    }
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 5)).await;
    wait_until("every message to be settled", REDELIVERY, async || unacknowledged(&context).await == 0).await;
    let ended = hark.ended_jobs(4).await;
    let codes: Vec<&str> = ended.iter().filter_map(|event| event.body["error"]["code"].as_str()).collect();
    assert_eq!(codes, ["UnreadableHeaders"; 3]);
    assert_eq!(ended.len(), 4, "each is answered once");
    assert!(ended.iter().all(|event| event.body["recording"]["bytes"].as_u64() >= Some(18)));
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 6)).await;
    assert_eq!(hark.ended_jobs(5).await[4].kind(), "job.completed", "it goes on");
}
