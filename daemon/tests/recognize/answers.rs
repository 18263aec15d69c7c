//! Answers that the protocol allows and the emulator does not give, and answers that cannot be parsed.

use std::time::Duration;

use harkd::config::Priority;
use harkd::config::Secret;
use harkd::job::{Fate, Transcript};
use harkd::recognize::{Audio, Error, Ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{FILETRANS, Leads, ReceivedEvent, flash, job, leads, recognizers, request};
use crate::support::{FileServer, wav};

const OK: &str = "200 OK";
const STREAM: &str = "content-type: text/event-stream\r\n";
const JSON: &str = "content-type: application/json\r\n";
const STOP: &str = "data:{\"output\":{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":[{\"text\":\"so\"}]}}]}}\n\n";

fn piece(text: &str) -> String {
    format!(
        "data:{{\"output\":{{\"choices\":[{{\"finish_reason\":\"null\",\"message\":{{\"content\":[{{\"text\":\"{text}\"}}]}}}}]}},\"usage\":{{\"seconds\":7}}}}\n\n"
    )
}

/// The outcome of an answer with this status and these headers, sent in these pieces.
async fn answered_with(
    status: &str,
    head: &str,
    pieces: &[&str],
    partials: bool,
) -> Result<Transcript, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [recognizer, _] = recognizers(&format!("http://{}/api/v1", listener.local_addr().unwrap()), 0);
    let job = job(folder.path(), "a.wav", &wav(0.1, 1));
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}}") {
            assert!(socket.read_buf(&mut request).await.unwrap() > 0);
        }
        let head = format!("HTTP/1.1 {status}\r\n{head}connection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        for piece in pieces {
            // The recognizer may have closed the connection already.
            let _ = socket.write_all(piece.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ((outcome, _), ()) = tokio::join!(flash(&*recognizer, &job, folder.path(), partials), serve);
    outcome
}

async fn answered(head: &str, pieces: &[&str]) -> Result<Transcript, Error> {
    answered_with(OK, head, pieces, true).await
}

#[tokio::test]
async fn incremental_pieces_that_look_cumulative_are_joined_all_the_same() {
    let pieces = ["嗯", "嗯嗯", "嗯嗯嗯"].map(piece);
    let last = STOP.replace("[{\"text\":\"so\"}]", "[]");
    let transcript = answered(STREAM, &[&pieces[0], &pieces[1], &pieces[2], &last]).await.unwrap();
    assert_eq!((transcript.text.as_str(), transcript.billed.seconds), ("嗯嗯嗯嗯嗯嗯", 7));
}

#[tokio::test]
async fn a_stream_that_brings_signs_of_life_and_no_text_is_given_up() {
    let error = answered(STREAM, &[": working\n\n"; 200]).await.unwrap_err();
    assert_eq!(error.fault.code, "TimeOut", "{error}");
    assert!(answered(STREAM, &[&[&*piece("so "); 200][..], &[STOP]].concat()).await.is_ok());
}

#[tokio::test]
async fn a_refusal_of_a_stream_comes_in_three_forms() {
    let data = "{\"code\":\"InvalidParameter\",\"message\":\"The audio is too long\",\"request_id\":\"r\"}";
    let event = format!("id:1\nevent:error\n:HTTP_STATUS/400\ndata:{data}\n\n");
    for (status, head, body) in [
        ("400 Bad Request", STREAM, &*event),
        (OK, STREAM, &*event),
        ("400 Bad Request", JSON, data),
        (OK, JSON, data),
    ] {
        let error = answered_with(status, head, &[body], true).await.unwrap_err();
        assert_eq!((&*error.fault.code, error.fate), ("InvalidParameter", Fate::Refused), "{status} {head}");
        assert_eq!((leads(&error), error.raw), (Leads::GiveUp, None), "{status} {head}");
    }
}

#[tokio::test]
async fn an_error_event_without_a_code_is_judged_by_its_status() {
    let of_status = async |status: u16| {
        let event = format!("event:error\n:HTTP_STATUS/{status}\ndata:{{\"message\":\"slower\"}}\n\n");
        leads(&answered(STREAM, &[&event]).await.unwrap_err())
    };
    assert_eq!(of_status(429).await, Leads::FreeRetry);
    assert_eq!(of_status(401).await, Leads::Hold { announce: true });
}

#[tokio::test]
async fn a_finish_reason_ends_a_stream_whatever_follows() {
    let error = "event:error\n:HTTP_STATUS/500\ndata:{\"code\":\"InternalError\",\"message\":\"x\"}\n\n";
    for pieces in [&[STOP, error][..], &[&*format!("{STOP}{error}")], &[STOP, "event:done\ndata:[DONE]\n\n"]]
    {
        assert_eq!(answered(STREAM, pieces).await.unwrap().text, "so", "{pieces:?}");
    }
}

#[tokio::test]
async fn a_paid_answer_that_cannot_be_read_is_kept_with_the_attempt() {
    let odd = "{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"words\":\"so\"}]}}]}}";
    let in_stream = format!("{}data:{odd}\n\n", piece("paid "));
    for (head, body, partials, fate) in [
        (JSON, odd, false, Fate::Open),
        (JSON, "<html>", false, Fate::Open),
        (STREAM, &*in_stream, true, Fate::Taken),
        (STREAM, &*piece("cut off "), true, Fate::Taken),
        (STREAM, "data:<html>\n\n", true, Fate::Open),
    ] {
        let error = answered_with(OK, head, &[body], partials).await.unwrap_err();
        assert_eq!((error.fate, leads(&error)), (fate, Leads::Unknown), "{body}");
        assert_eq!(String::from_utf8_lossy(error.raw.as_deref().unwrap()), body);
        let message = &error.fault.message;
        assert!(message.ends_with("kept with the attempt") && !message.contains("words"), "{message}");
    }
}

#[tokio::test]
async fn a_submit_without_a_task_may_have_been_taken() {
    let answer = "{\"request_id\":\"r\",\"output\":{\"task_status\":\"PENDING\"}}";
    let path = "/api/v1/services/audio/asr/transcription";
    let service = FileServer::start(vec![(path, answer.into())]).await;
    let [_, recognizer] = recognizers(&service.url("/api/v1"), 0);
    let permit = recognizer.permit(Priority::Normal).await;
    let request = request(FILETRANS, Audio::Url("https://media.example/a.wav"));
    let error = recognizer.send(permit, request, &mut ReceivedEvent::default()).await.unwrap_err();
    assert_eq!((error.fate, error.raw.as_deref()), (Fate::Open, Some(answer.as_bytes())), "{error}");
}

#[tokio::test]
async fn a_result_that_cannot_be_read_is_kept_with_what_it_cost() {
    let files = FileServer::start(vec![("/result.json", "{\"transcripts\":7}".into())]).await;
    let [_, recognizer] = recognizers(&files.url("/api/v1"), 0);
    let result_url = Secret::new(&files.url("/result.json"));
    let ready = Ready { handle: "task".into(), result_url, billed: hark_sdk::event::Usage::seconds(5) };
    let error = recognizer.fetch(ready).await.unwrap_err();
    assert_eq!((error.fate, error.billed.seconds), (Fate::Taken, 5));
    assert_eq!(error.raw.as_deref(), Some(&b"{\"transcripts\":7}"[..]));
}
