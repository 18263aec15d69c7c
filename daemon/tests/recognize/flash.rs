use std::io::Write;
use std::time::Duration;

use hark_sdk::event::Timing;
use harkd::config::Priority;
use harkd::recognize::{Audio, Hints, Request};
use tokio::io::AsyncReadExt;

use super::{
    Bench, FLASH, Leads, ReceivedEvent, flash, heard, job, leads, recognizers, request, sha256, text_of,
};
use crate::support::{FileServer, wav};

#[tokio::test]
async fn the_text_grows_while_the_service_speaks() {
    let bench = Bench::start(&[]).await;
    let audio = wav(2.0, 1);
    let (outcome, heard) = bench.flash(&job(bench.folder.path(), "a.wav", &audio)).await;
    let transcript = outcome.unwrap();
    assert_eq!(transcript.text, text_of(&audio));
    assert_eq!(heard.taken, 1);
    assert!(heard.texts.len() > 3, "{:?}", heard.texts);
    assert!(
        heard.texts.windows(2).all(|pair| pair[1].len() > pair[0].len() && pair[1].starts_with(&pair[0]))
    );
    assert_eq!(heard.texts.last(), Some(&transcript.text));
    let [segment] = &transcript.segments[..] else { panic!("{:?}", transcript.segments) };
    assert_eq!((segment.begin_ms, segment.end_ms, segment.timing), (Some(0), Some(2_000), Timing::Chunk));
    assert!(segment.language.is_some() && segment.emotion.is_some());
    let [entry] = &bench.entries("flash")[..] else { panic!("not one request") };
    assert_eq!(entry["sha256"], sha256(&audio), "the bytes arrived as they are");
    assert_eq!(entry["charged_seconds"], transcript.billed.seconds);
}

#[tokio::test]
async fn without_partials_the_answer_comes_whole() {
    let bench = Bench::start(&[]).await;
    let audio = wav(1.0, 2);
    let job = job(bench.folder.path(), "a.wav", &audio);
    let (outcome, heard) = flash(&*bench.flash, &job, bench.folder.path(), false).await;
    assert_eq!(outcome.unwrap().text, text_of(&audio));
    assert_eq!((heard.taken, heard.texts.len()), (1, 0));
}

#[tokio::test]
async fn the_largest_recording_that_fits_arrives_whole() {
    let bench = Bench::start(&[]).await;
    // 7.4 MB: many chunks, and a length that needs base64 padding.
    let audio = wav(462.0625, 3);
    let (outcome, _) = bench.flash(&job(bench.folder.path(), "a.wav", &audio)).await;
    let outcome = outcome.map(drop).map_err(|error| error.fault.code);
    let entries = bench.entries("flash");
    assert_eq!(entries[0]["sha256"], sha256(&audio), "{outcome:?}");
}

#[tokio::test]
async fn the_service_fetches_a_url_itself() {
    let bench = Bench::start(&[]).await;
    let audio = wav(1.0, 4);
    let files = FileServer::start(vec![("/a.wav", audio.clone())]).await;
    let url = files.url("/a.wav");
    let hints = Hints { language: Some("en".into()), ..Hints::default() };
    let request = Request { hints: &hints, ..request(FLASH, Audio::Url(&url)) };
    let permit = bench.flash.permit(Priority::Normal).await;
    let transcript = heard(bench.flash.send(permit, request, &mut ReceivedEvent::default()).await).unwrap();
    assert_eq!(transcript.text, text_of(&audio));
    let segment = &transcript.segments[0];
    assert_eq!((segment.begin_ms, segment.end_ms, segment.timing), (None, None, Timing::None));
    assert_eq!(segment.language.as_deref(), Some("en"));
}

/// Accepts one connection, reads until it ends, and returns the bytes.
async fn swallow(listener: tokio::net::TcpListener) -> Vec<u8> {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    // A reset ends the read as an orderly close does.
    let _ = connection.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn a_recording_that_is_not_what_was_hashed_never_becomes_a_whole_request() {
    let folder = tempfile::tempdir().unwrap();
    let audio = wav(20.0, 5);
    for name in ["another hash", "grown after it was opened"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let [recognizer, _] = recognizers(&format!("http://{}/api/v1", listener.local_addr().unwrap()), 0);
        let swallowed = tokio::spawn(swallow(listener));
        let mut job = job(folder.path(), "a.wav", &audio);
        if name == "another hash" {
            job.recording.sha256 = Some("0".repeat(64));
        }
        let content = harkd::recognize::Content::of(&job, folder.path()).unwrap();
        if name == "grown after it was opened" {
            let mut file = std::fs::File::options().append(true).open(folder.path().join("a.wav")).unwrap();
            file.write_all(b"more").unwrap();
        }
        let request = request(FLASH, Audio::Inline { content, format: "wav" });
        let permit = recognizer.permit(Priority::Normal).await;
        let error = recognizer.send(permit, request, &mut ReceivedEvent::default()).await.unwrap_err();
        assert_eq!(error.fault.code, "RecordingChanged", "{name}");
        assert_eq!(leads(&error), Leads::GiveUp);
        let bytes = tokio::time::timeout(Duration::from_secs(10), swallowed).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        // The recognizer may abort even before it has sent the head.
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text[..head]
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let body = bytes.len() - (head + 4);
        assert!(body < length.unwrap(), "{name}: the service got the whole request");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_costs_nothing() {
    // The listener is dropped, so nothing listens on the port.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let [recognizer, _] = recognizers(&format!("http://{address}/api/v1"), 0);
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) =
        flash(&*recognizer, &job(folder.path(), "a.wav", &wav(1.0, 6)), folder.path(), true).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.fault.code, "NotSent");
    assert!(!error.fault.message.contains("http://"), "{}", error.fault.message);
    assert_eq!(leads(&error), Leads::FreeRetry);
}
