//! Recordings that the service would refuse or misread as they are: wrong WAV headers, codecs that neither it nor Hark decodes.

use std::collections::BTreeMap;

use crate::support::{Emulator, Hark, NatsServer, ReceivedEvent, wav};

/// Four seconds with a header that readers refuse, or believe though less is there.
fn with_wrong_headers() -> Vec<(&'static str, Vec<u8>)> {
    let changed = |seed, change: fn(&mut Vec<u8>)| {
        let mut bytes = wav(4.0, seed);
        change(&mut bytes);
        bytes
    };
    vec![
        ("block-align.wav", changed(1, |bytes| bytes[32] = 4)),
        ("unpadded.wav", changed(2, |bytes| drop(bytes.splice(36..36, *b"LIST\x05\0\0\0INFOx")))),
        ("stale-size.wav", changed(3, |bytes| bytes[40..44].copy_from_slice(&16_000_u32.to_le_bytes()))),
        ("never-finished.wav", changed(4, |bytes| bytes[40..44].fill(0))),
    ]
}

/// The last event of each job by the recording's name.
async fn ended(hark: &mut Hark, count: usize) -> BTreeMap<String, ReceivedEvent> {
    let events = hark.ended_jobs(count).await;
    events
        .into_iter()
        .map(|event| (event.body["recording"]["name"].as_str().unwrap().into(), event))
        .collect()
}

#[tokio::test]
async fn a_wav_with_a_wrong_header_is_sent_with_a_right_one() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let files = with_wrong_headers();
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder("auto")
        .folder_with("flash", "route = \"flash\"\n")
        .lines("[[route]]\nname = \"flash\"\nengine = \"flash\"\n")
        .start()
        .await;
    for (name, bytes) in &files {
        hark.drop_file("auto", &format!("auto-{name}"), bytes);
        hark.drop_file("flash", &format!("flash-{name}"), bytes);
    }
    for (name, last) in ended(&mut hark, 2 * files.len()).await {
        assert_eq!(last.kind(), "job.completed", "{name}: {}", last.body);
        assert_eq!(
            (&last.body["audio_seconds"], &last.body["billed_seconds"]),
            (&4.0.into(), &4.into()),
            "{name}"
        );
    }
    assert_eq!(service.journal_of("flash").len(), 2 * files.len(), "each is paid once, as one piece");
    assert_eq!(service.journal_of("upload").len(), 0);
}

#[tokio::test]
async fn filetrans_is_not_given_a_file_that_it_may_misread() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&[]).await);
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder_with("calls", "route = \"tasks\"\n")
        .lines("[[route]]\nname = \"tasks\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    let files = with_wrong_headers();
    for (name, bytes) in &files {
        hark.drop_file("calls", name, bytes);
    }
    for (name, last) in ended(&mut hark, files.len()).await {
        assert_eq!(
            (last.kind(), error(&last, "code")),
            ("job.failed", "FormatNotSupported".into()),
            "{name}"
        );
        let message = error(&last, "message");
        assert!(message.contains("wav header") && message.contains("convert it"), "{message}");
    }
    assert_eq!(service.journal_of("upload").len() + service.journal_of("submit").len(), 0);
}

#[tokio::test]
async fn a_codec_that_cannot_be_decoded_is_named() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--region", "us"]).await);
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("dashscope.region", "\"us\"")
        .folder_with("calls", "include = [\"**/*\"]\n")
        .start()
        .await;
    // A container that flash does not take, with a codec that no program knows.
    let phone = include_bytes!("audio/call.m4a");
    let mut phone = phone.to_vec();
    for name in [b"mp4a", b"esds"] {
        let at = phone.windows(4).position(|four| four == name).unwrap();
        phone[at..at + 4].copy_from_slice(b"xxxx");
    }
    phone[8..12].copy_from_slice(b"3gp4");
    hark.drop_file("calls", "phone.3gp", &phone);
    let last = ended(&mut hark, 1).await.remove("phone.3gp").unwrap();
    assert_eq!((last.kind(), error(&last, "code")), ("job.failed", "UndecodableAudio".into()));
    let message = error(&last, "message");
    assert!(message.contains("xxxx in ") && message.contains("convert it to"), "{message}");
    assert_eq!(service.journal_of("flash").len(), 0);
}

fn error(event: &ReceivedEvent, field: &str) -> String {
    event.body["error"][field].as_str().unwrap_or_default().into()
}
