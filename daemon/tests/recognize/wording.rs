//! Answers that say the same in other words than the stand-in does: what is legal HTTP, SSE and JSON is understood.

use std::time::Duration;

use harkd::config::Secret;
use harkd::job::Transcript;
use harkd::recognize::{Error, Polled, Ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{FileServer, wav};
use crate::{Leads, flash, job, leads, recognizers};

#[tokio::test]
async fn a_stream_that_brings_signs_of_life_and_no_text_is_given_up() {
    // A comment, and an event without news; a text keeps it alive.
    for sign in [": working\n\n", "data:{\"usage\":{\"seconds\":1}}\n\n"] {
        let error = answered(STREAM, &[sign; 200]).await.unwrap_err();
        assert_eq!(error.fault.code, "TimeOut", "{sign}: {error}");
    }
    let text = "data:{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"so \"}]}}]}}\n\n";
    assert!(answered(STREAM, &[&[text; 200][..], &[STOP]].concat()).await.is_ok());
}

/// What is made of an answer with this head, in these pieces.
async fn answered(head: &str, pieces: &[&str]) -> Result<Transcript, Error> {
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
        let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
        assert!(request.contains("\r\naccept-encoding: identity\r\n"), "{request}");
        socket
            .write_all(format!("HTTP/1.1 200 OK\r\n{head}connection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        for piece in pieces {
            // Nobody may be there any more.
            let _ = socket.write_all(piece.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ((outcome, _), ()) = tokio::join!(flash(&*recognizer, &job, folder.path(), true), serve);
    outcome
}

const STREAM: &str = "content-type: text/event-stream\r\n";
const STOP: &str = "data:{\"output\":{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"content\":[{\"text\":\"so\"}]}}]}}\n\n";

#[tokio::test]
async fn a_stream_is_known_whatever_it_calls_itself() {
    for head in
        ["content-type: Text/Event-Stream;charset=UTF-8\r\n", "content-type: text/plain\r\n", "", STREAM]
    {
        assert_eq!(answered(head, &[STOP]).await.unwrap().text, "so", "{head:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_its_label_says_is_read_as_what_it_is() {
    const PIECE: &str =
        "data:{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"so \"}]}}]}}\n\n";
    let json = "content-type: application/json\r\n";
    let whole = STOP.trim_start_matches("data:").trim_end();
    for (head, pieces, text) in [
        (json, &[PIECE, STOP][..], "so so"),
        (json, &["\u{feff}\n", ": working\n\n", PIECE, STOP], "so so"),
        (STREAM, &[whole], "so"),
        (STREAM, &["\u{feff}", "\n", "{", &whole[1..]], "so"),
        ("", &[whole], "so"),
    ] {
        assert_eq!(answered(head, pieces).await.unwrap().text, text, "{head:?} {pieces:?}");
    }
    // Its first text is heard, though it does not end.
    let error = answered(json, &[PIECE]).await.unwrap_err();
    assert_eq!(error.fault.code, "EndedWithoutStop");
}

#[tokio::test]
async fn a_price_that_comes_after_the_text_is_heard() {
    let transcript = answered(STREAM, &[STOP, "data:{\"usage\":", "{\"seconds\":7}}\n\n"]).await.unwrap();
    assert_eq!((transcript.text.as_str(), transcript.billed_seconds), ("so", 7));
}

#[tokio::test]
async fn an_error_event_without_a_code_is_judged_by_its_status() {
    let of_status = async |status: u16, data: &str| {
        let event = format!("event:error\n:HTTP_STATUS/{status}\ndata:{data}\n\n");
        leads(&answered(STREAM, &[&event]).await.unwrap_err())
    };
    for data in ["{\"message\":\"slower\"}", "{\"error\":{\"message\":\"slower\",\"code\":null}}", "slower"] {
        assert_eq!(of_status(429, data).await, Leads::FreeRetry, "{data}");
        assert_eq!(of_status(401, data).await, Leads::Hold { announce: true }, "{data}");
    }
}

#[tokio::test]
async fn what_follows_the_stop_takes_nothing_away() {
    let error = |status: u16| {
        format!(
            "event:error\n:HTTP_STATUS/{status}\ndata:{{\"code\":\"InternalError\",\"message\":\"x\"}}\n\n"
        )
    };
    let whole = STOP.trim_end();
    for (name, pieces) in [
        ("an error in the same breath", vec![format!("{STOP}{}", error(500))]),
        ("an error after it", vec![STOP.to_owned(), error(429)]),
        ("an error without a code", vec![format!("{STOP}event:error\n:HTTP_STATUS/500\ndata:\n\n")]),
        ("what is no JSON", vec![format!("{STOP}data:{{\n\n")]),
        ("another text", vec![format!("{STOP}{STOP}")]),
        ("nothing, not even an empty line", vec![whole.to_owned()]),
    ] {
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(answered(STREAM, &pieces).await.unwrap().text, "so", "{name}");
        // The same, and then the connection breaks.
        let chunks: Vec<String> =
            pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let head = format!("{STREAM}transfer-encoding: chunked\r\n");
        assert_eq!(answered(&head, &chunks).await.unwrap().text, "so", "{name}, cut");
    }
}

#[tokio::test]
async fn a_price_that_comes_late_is_waited_for() {
    let late = [": \n"; 30];
    let pieces = [&[STOP][..], &late, &["data:{\"usage\":{\"seconds\":8}}\n\n"]].concat();
    assert_eq!(answered(STREAM, &pieces).await.unwrap().billed_seconds, 8);
}

#[tokio::test]
async fn a_refusal_in_an_answer_of_200_tells_its_price_too() {
    let refused = "{\"code\":\"InternalError\",\"message\":\"x\",\"usage\":{\"seconds\":5}}";
    let error = answered("content-type: application/json\r\n", &[refused]).await.unwrap_err();
    assert_eq!(error.billed_seconds, 5);
    assert_eq!(leads(&error), Leads::Unknown);
}

/// How a task stands of which the service says this.
async fn told(answer: &str) -> Polled {
    let service = FileServer::start(vec![("/api/v1/tasks/a", answer.into())]).await;
    let [_, recognizer] = recognizers(&service.url("/api/v1"), 0);
    recognizer.poll("a").await.unwrap()
}

#[tokio::test]
async fn a_status_is_known_in_any_case() {
    let failed = "{\"output\":{\"task_status\":\"Failed\",\"code\":\"DECODE_ERROR\"}}";
    assert!(matches!(told(failed).await, Polled::Failed(_)));
    let succeeded = "{\"output\":{\"task_status\":\"succeeded\",\"result\":{\"transcription_url\":\"u\"}}}";
    assert!(matches!(told(succeeded).await, Polled::Ready(_)));
}

#[tokio::test]
async fn a_task_that_failed_and_was_charged_is_not_repeated_as_one_that_was_refused() {
    let ended = async |status: &str, code: &str, seconds: u64| {
        let answer = format!(
            "{{\"output\":{{\"task_status\":\"{status}\",\"code\":\"{code}\"}},\"usage\":{{\"seconds\":{seconds}}}}}"
        );
        let Polled::Failed(error) = told(&answer).await else { panic!("{answer}") };
        assert_eq!(error.billed_seconds, seconds, "{answer}");
        leads(&error)
    };
    assert_eq!(ended("FAILED", "FILE_SERVER_ERROR", 5).await, Leads::Unknown);
    assert_eq!(ended("FAILED", "FILE_SERVER_ERROR", 0).await, Leads::Retry);
    assert_eq!(ended("FAILED", "DECODE_ERROR", 5).await, Leads::GiveUp);
    assert_eq!(ended("CANCELED", "", 5).await, Leads::GiveUp);
}

const RESULT: &str =
    "{\"file_url\":\"\",\"transcripts\":[{\"channel_id\":0,\"text\":\"so\",\"sentences\":[]}]}";

/// The text that is made of a result file with this content.
async fn result(content: impl Into<Vec<u8>>) -> String {
    let files = FileServer::start(vec![("/result.json", content.into())]).await;
    let [_, recognizer] = recognizers(&files.url("/api/v1"), 0);
    let result_url = Secret::new(&files.url("/result.json"));
    recognizer.fetch(Ready { handle: "task".into(), result_url, billed_seconds: 1 }).await.unwrap().text
}

#[tokio::test]
async fn a_byte_order_mark_hides_nothing() {
    assert_eq!(result(format!("\u{feff}{RESULT}")).await, "so");
    let whole = STOP.trim().trim_start_matches("data:");
    let transcript = answered("content-type: application/json\r\n", &["\u{feff}", whole]).await.unwrap();
    assert_eq!(transcript.text, "so");
}

#[tokio::test]
async fn an_emoji_that_was_cut_between_two_pieces_is_whole() {
    let piece = |text: &str| {
        format!(
            "data:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":[{{\"text\":\"{text}\"}}]}}}}]}}}}\n\n"
        )
    };
    let transcript = answered(STREAM, &[&piece(r"a\ud83d"), &piece(r"\ude00b"), STOP]).await.unwrap();
    assert_eq!(transcript.text, "a😀bso");
    assert_eq!(result(RESULT.replace("so", r"so\ud83d")).await, "so\u{fffd}");
}

#[tokio::test]
async fn a_price_that_cannot_be_takes_the_place_of_none_that_can() {
    let price = |seconds: &str| format!("data:{{\"usage\":{{\"seconds\":{seconds}}}}}\n\n");
    for nonsense in ["1e30", "-7", "\"much\""] {
        let pieces = [&*price("7"), &price(nonsense), STOP, &price(nonsense)];
        assert_eq!(answered(STREAM, &pieces).await.unwrap().billed_seconds, 7, "{nonsense}");
        assert_eq!(
            answered(STREAM, &[&price(nonsense), STOP]).await.unwrap().billed_seconds,
            0,
            "{nonsense}"
        );
    }
}
