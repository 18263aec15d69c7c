//! Connections that the server closes at points where HTTP permits it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use futures::future::BoxFuture;
use hark_sdk::event::Engine;
use harkd::config::{Config, Priority};
use harkd::recognize::{Audio, Clearance, Content, Recognizers, Request, Timeouts};
use harkd::telemetry::metrics::Metrics;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::{Bench, FILETRANS, FLASH, Leads, ReceivedEvent, flash, job, leads, recognizers, request};
use crate::support::wav;

const STOP: &str = r#"{"output":{"choices":[{"finish_reason":"stop","message":{"content":[{"text":"so"}]}}]},"usage":{"seconds":1}}"#;

/// Reads until the request contains `end`, and returns what was read; `None` if the connection ends first.
pub(crate) async fn read_until(socket: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while !request.windows(end.len()).any(|part| part == end) {
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(request)
}

async fn respond(socket: &mut TcpStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + body).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_paid_request_leaves_on_no_connection_that_may_be_closing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [recognizer, _] = recognizers(&format!("http://{}/api/v1", listener.local_addr().unwrap()), 0);
    let job = job(folder.path(), "a.wav", &wav(0.1, 1));
    // One answer per connection: the server closes it afterwards, as one whose idle timeout ends at that moment.
    let serve = async {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                if read_until(&mut socket, b"}}").await.is_some() {
                    respond(&mut socket, "200 OK", STOP).await;
                    let _ = socket.readable().await;
                }
            });
        }
    };
    let twice = async {
        for _ in 0..2 {
            assert_eq!(flash(&*recognizer, &job, folder.path(), true).await.0.unwrap().text, "so");
        }
    };
    tokio::select! {
        () = twice => {}
        () = serve => {}
    }
}

/// A clearance that is asked while only the last part of the body is missing.
#[derive(Debug)]
struct Refused {
    asked: AtomicUsize,
}

impl Clearance for Refused {
    fn is_given(&self) -> BoxFuture<'_, bool> {
        self.asked.fetch_add(1, Relaxed);
        Box::pin(async { false })
    }
}

#[tokio::test]
async fn a_request_that_is_not_cleared_never_becomes_whole() {
    let bench = Bench::start(&[]).await;
    let job = job(bench.folder.path(), "a.wav", &wav(30.0, 1));
    let content = Content::of(&job, bench.folder.path()).unwrap();
    for (recognizer, model, audio) in [
        (&bench.flash, FLASH, Audio::Inline { content, format: "wav" }),
        (&bench.flash, FLASH, Audio::Url("https://calls.example.com/a.wav")),
        (&bench.filetrans, FILETRANS, Audio::Url("https://calls.example.com/a.wav")),
    ] {
        let refused = Arc::new(Refused { asked: AtomicUsize::new(0) });
        let permit = recognizer.permit(Priority::default()).await;
        let request = Request { clearance: Some(refused.clone()), ..request(model, audio) };
        let error = recognizer.send(permit, request, &mut ReceivedEvent::default()).await.unwrap_err();
        assert_eq!((leads(&error), refused.asked.load(Relaxed)), (Leads::Retry, 1), "{error}");
    }
    let paid = bench.service.journal();
    assert!(paid.iter().all(|entry| entry["outcome"] != "ok"), "{paid:?}");
}

#[tokio::test]
async fn a_request_to_an_own_server_that_is_not_cleared_never_becomes_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), "a.wav", &wav(30.0, 1));
    for shape in ["chat", "transcriptions"] {
        let server = json!({ "name": "own", "kind": "openai", "model": "whisper", "base_url": base_url, "request": shape });
        let config =
            Config { recognizer: vec![serde_json::from_value(server).unwrap()], ..Config::default() };
        let none = Recognizers::default();
        let recognizers = Recognizers::of_config(&config, None, &none, &Metrics::new(), Timeouts::default());
        let recognizers = recognizers.unwrap();
        let recognizer = recognizers.get(&Engine::new("own")).unwrap();
        let content = Content::of(&job, folder.path()).unwrap();
        let refused = Arc::new(Refused { asked: AtomicUsize::new(0) });
        let audio = Audio::Inline { content, format: "wav" };
        let request = Request { clearance: Some(refused.clone()), ..request("whisper", audio) };
        let permit = recognizer.permit(Priority::default()).await;
        let mut progress = ReceivedEvent::default();
        let (sent, received) = tokio::join!(recognizer.send(permit, request, &mut progress), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            let _ = socket.read_to_end(&mut received).await;
            received
        });
        assert_eq!((leads(&sent.unwrap_err()), refused.asked.load(Relaxed)), (Leads::Retry, 1), "{shape}");
        // The reset of the connection may take with it what the server has not read yet, the head too.
        let text = String::from_utf8_lossy(&received).to_ascii_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let body = received.len() - head.len() - 4;
        assert!(body < length.parse().unwrap(), "{shape}: all {body} bytes arrived");
    }
}

#[tokio::test]
async fn an_upload_leaves_on_no_connection_that_may_be_closing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let [_, recognizer] = recognizers(&format!("{host}/api/v1"), 0);
    let job = job(folder.path(), "a.wav", &wav(0.1, 1));
    let policy = serde_json::json!({"data": {
        "upload_host": host, "upload_dir": "dir", "oss_access_key_id": "id", "signature": "s", "policy": "p",
        "x_oss_object_acl": "private", "x_oss_forbid_overwrite": "true",
    }});
    // The API and the storage are one server, which closes connections as above.
    let serve = async {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let policy = policy.to_string();
            tokio::spawn(async move {
                let Some(mut request) = read_until(&mut socket, b"\r\n\r\n").await else { return };
                let answer = if request.starts_with(b"GET") { &policy } else { "" };
                while answer.is_empty() && !request.ends_with(b"--\r\n") {
                    assert!(socket.read_buf(&mut request).await.unwrap() > 0);
                }
                respond(&mut socket, "200 OK", answer).await;
                let _ = socket.readable().await;
            });
        }
    };
    let content = Content::of(&job, folder.path()).unwrap();
    tokio::select! {
        url = recognizer.upload(FILETRANS, content, "a.wav") => assert_eq!(url.unwrap().url.reveal(), "oss://dir/a.wav"),
        () = serve => {}
    }
}
