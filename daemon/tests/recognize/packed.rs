//! Answers that come gzip-encoded, though `identity` was asked for: object stores and gateways do so.

use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harkd::config::Secret;
use harkd::job::Transcript;
use harkd::recognize::{Audio, Error, Listener, Ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::{CEILING, python};
use crate::{FLASH, heard, recognizers, request};

const PIECE: &str = "data:{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"so\"}]}}]},\"usage\":{\"seconds\":7}}\n\n";
const STOP: &str =
    "data:{\"output\":{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":[]}}]}}\n\n";
const RESULT: &str = "{\"transcripts\":[{\"text\":\"so\"}]}";

/// One packed body of the pieces in this Python list, each of which can be unpacked before the next comes.
fn packed(pieces: &str) -> Vec<Vec<u8>> {
    const PACK: &str = "
import base64, sys, zlib
packer = zlib.compressobj(wbits=31)
for piece in eval(sys.argv[1]):
    print(base64.b64encode(packer.compress(piece.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)).decode())
print(base64.b64encode(packer.flush()).decode())";
    let output = Command::new(python()).args(["-c", PACK, pieces]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| STANDARD.decode(line).unwrap()).collect()
}

/// Answers one request in these pieces: the second goes out when the first was heard.
async fn serve(listener: TcpListener, content_type: &str, body: Vec<Vec<u8>>, ear: Arc<Notify>) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    // The end of a body, or of a head that no body follows.
    while !(request.ends_with(b"}}") || request.starts_with(b"GET") && request.ends_with(b"\r\n\r\n")) {
        assert!(socket.read_buf(&mut request).await.unwrap() > 0);
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    for (index, piece) in body.iter().enumerate() {
        if index == 1 {
            tokio::time::timeout(CEILING, ear.notified()).await.expect("the first piece was not heard");
        }
        // Who has heard enough need not hear the rest.
        let _ = socket.write_all(piece).await;
    }
}

/// Tells that there is text.
struct Ear(Arc<Notify>);

impl Listener for Ear {
    fn on_taken(&mut self) {}

    fn on_text(&mut self, _text: &str) {
        self.0.notify_one();
    }
}

async fn flash(content_type: &str, body: Vec<Vec<u8>>, ear: Arc<Notify>) -> Result<Transcript, Error> {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [recognizer, _] = recognizers(&format!("http://{}/api/v1", socket.local_addr().unwrap()), 0);
    let request = request(FLASH, Audio::Url("https://media.example/a.wav"));
    let permit = recognizer.permit().await;
    let mut listener = Ear(ear.clone());
    let answered = recognizer.send(permit, request, &mut listener);
    heard(tokio::join!(answered, serve(socket, content_type, body, ear)).0)
}

#[tokio::test]
async fn a_packed_stream_is_heard_piece_by_piece() {
    // Whatever it is labelled.
    for content_type in ["text/event-stream", "application/json"] {
        let body = packed(&serde_json::to_string(&[PIECE, STOP]).unwrap());
        let transcript = flash(content_type, body, Arc::default()).await.unwrap();
        assert_eq!((transcript.text.as_str(), transcript.billed_seconds), ("so", 7));
    }
}

#[tokio::test]
async fn a_packed_result_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let [_, recognizer] = recognizers(&format!("{host}/api/v1"), 0);
    let body = vec![packed(&serde_json::to_string(&[RESULT]).unwrap()).concat()];
    let url = format!("{host}/result.json");
    let ready = Ready { handle: "task".into(), result_url: Secret::new(&url), billed_seconds: 1 };
    let fetched = recognizer.fetch(ready);
    let (transcript, ()) = tokio::join!(fetched, serve(listener, "application/json", body, Arc::default()));
    assert_eq!(transcript.unwrap().text, "so");
}

#[tokio::test]
async fn what_is_bounded_is_what_was_unpacked() {
    let bomb = vec![packed("[' ' * (8 << 20)]").concat()];
    assert!(bomb[0].len() < 64 << 10);
    let error = flash("application/json", bomb, Arc::default()).await.unwrap_err();
    assert!(error.fault.message.contains("longer than"), "{error}");
}
