//! Requests that the service refuses, with its codes.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

mod support;

use dashscope_emulator::journal::Kind;
use serde_json::{Value, json};
use support::*;

#[tokio::test]
async fn keys_are_checked_before_anything_else() {
    let emulator = Emulator::start_with(&["--api-key", KEY, "--api-key", "sk-another-key-00000"]);
    let url = format!("{}/services/aigc/multimodal-generation/generation", emulator.api);
    let body = flash_body(&data_url(&wav(1_000, 1, 1)));
    let without = emulator.http.post(&url).json(&body).send().await.unwrap();
    assert_eq!(refusal(without).await.1, "InvalidApiKey");
    let foreign =
        emulator.http.post(&url).bearer_auth("sk-of-another-region").json(&body).send().await.unwrap();
    let (status, code, _) = refusal(foreign).await;
    assert_eq!((status, code.as_str()), (401, "InvalidApiKey"));
    let second =
        emulator.http.post(&url).bearer_auth("sk-another-key-00000").json(&body).send().await.unwrap();
    assert_eq!(second.status(), 200);
    for path in ["/tasks/x", "/tasks", "/uploads?action=getPolicy&model=qwen3-asr-flash"] {
        let answer = emulator.http.get(format!("{}{path}", emulator.api)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
    let charged = emulator.journal().iter().filter(|entry| entry.charged_seconds.is_some()).count();
    assert_eq!(charged, 1);
    let journal = serde_json::to_string(&emulator.journal()).unwrap();
    assert!(!journal.contains(KEY), "keys are masked");
}

#[tokio::test]
async fn a_flash_request_is_held_against_the_reference() {
    let emulator = Emulator::start();
    let good = flash_body(&data_url(&wav(1_000, 1, 2)));
    let content = "/input/messages/0/content";
    let changed = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let user = good["input"]["messages"][0].clone();
    let many_words = "word ".repeat(10_001);
    for (body, status, code) in [
        (changed("/model", json!(FILETRANS)), 400, "InvalidParameter"),
        (changed("/model", json!("qwen3-asr-flash-us")), 404, "ModelNotFound"),
        (changed("/model", json!(null)), 400, "BadRequest.EmptyModel"),
        (changed("/input", json!(null)), 400, "BadRequest.EmptyInput"),
        (changed("/input/messages", json!([])), 400, "InvalidParameter"),
        (changed("/input/messages", json!([user, user])), 400, "InvalidParameter"),
        (changed("/input/messages/0/role", json!("assistant")), 400, "InvalidParameter"),
        (changed(content, json!("audio")), 400, "InvalidParameter"),
        (changed(content, json!([{"text": "transcribe"}])), 400, "InvalidParameter"),
        (changed(content, json!([user["content"][0], user["content"][0]])), 400, "InvalidParameter"),
        (changed(content, json!([{"audio": "data:text/plain;base64,aGVsbG8="}])), 400, "InvalidURL"),
        (changed(content, json!([{"audio": "data:audio/wav;base64,!!!!"}])), 400, "InvalidURL"),
        (changed(content, json!([{"audio": "data:audio/wav;base64,aGVsbG8="}])), 400, "InvalidParameter"),
        (changed(content, json!([{"audio": "/home/me/call.wav"}])), 400, "InvalidURL"),
        (changed(content, json!([{"audio": "file:///home/me/call.wav"}])), 400, "InvalidURL"),
        (changed(content, json!([{"audio": "http://127.0.0.1:1/x.wav"}])), 400, "InvalidParameter"),
        (changed("/parameters/asr_options", json!({"language": "en-US"})), 400, "InvalidParameter"),
        (changed("/parameters/asr_options", json!({"enable_itn": 1})), 400, "InvalidParameter"),
        (changed("/parameters", json!({"incremental_output": "true"})), 400, "InvalidParameter"),
        (
            changed("/input/messages", json!([{"role": "system", "content": [{"text": many_words}]}, user])),
            400,
            "InvalidParameter",
        ),
    ] {
        let answer = refusal(emulator.flash(&body).send().await.unwrap()).await;
        let shown = &body.to_string()[..body.to_string().len().min(300)];
        assert_eq!((answer.0, answer.1.as_str()), (status, code), "{shown}");
    }
    let no_json = emulator.flash(&good).body("{").send().await.unwrap();
    assert_eq!(refusal(no_json).await.1, "InvalidParameter");
    assert!(emulator.journal_of(Kind::Flash).iter().all(|entry| entry.charged_seconds.is_none()));
}

#[tokio::test]
async fn context_may_come_first_or_last() {
    let emulator = Emulator::start();
    let mut body = flash_body(&data_url(&wav(1_000, 1, 3)));
    let user = body["input"]["messages"][0].clone();
    let system = json!({"role": "system", "content": [{"text": "Hark, Qwen"}]});
    for messages in [json!([system, user]), json!([user, system])] {
        body["input"]["messages"] = messages;
        let answer: Value = emulator.flash(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["usage"]["input_tokens_details"]["text_tokens"], 2, "{answer}");
    }
}

#[tokio::test]
async fn flash_does_not_support_asynchronous_calls() {
    let emulator = Emulator::start();
    let body = flash_body(&data_url(&wav(1_000, 1, 4)));
    let answer = emulator.flash(&body).header("X-DashScope-Async", "enable").send().await.unwrap();
    let (status, code, message) = refusal(answer).await;
    assert_eq!((status, code.as_str()), (403, "AccessDenied"));
    assert!(message.contains("does not support asynchronous calls"), "{message}");
}

#[tokio::test]
async fn a_refused_stream_is_an_error_event_with_its_status() {
    let emulator = Emulator::start();
    let answer = emulator.streamed(&flash_body("http://127.0.0.1:1/x.wav")).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let events = events(&answer.text().await.unwrap());
    let [(1, event, 400, data)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((event.as_str(), &data["code"]), ("error", &json!("InvalidParameter")));
}

#[tokio::test]
async fn each_region_has_its_models() {
    for (region, known, unknown) in [
        ("us", "qwen3-asr-flash-us", FILETRANS),
        ("beijing", "qwen3-asr-flash-2026-02-10", "qwen3-asr-flash-us"),
    ] {
        let emulator = Emulator::start_with(&["--region", region]);
        let mut body = flash_body(&data_url(&wav(1_000, 1, 5)));
        body["model"] = json!(known);
        assert_eq!(emulator.flash(&body).send().await.unwrap().status(), 200);
        body["model"] = json!(unknown);
        assert_eq!(emulator.flash(&body).send().await.unwrap().status(), 404);
    }
}

#[tokio::test]
async fn flash_downloads_public_urls() {
    let audio = wav(1_000, 1, 6);
    let files = FileServer::start(audio.clone()).await;
    let emulator = Emulator::start();
    let answer = emulator.flash(&flash_body(&files.url("/ok.wav"))).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for path in ["/404", "/text"] {
        let answer = emulator.flash(&flash_body(&files.url(path))).send().await.unwrap();
        assert_eq!(refusal(answer).await.1, "InvalidParameter", "{path}");
    }
    emulator.set_faults(json!([{"kind": "require_content_length"}])).await;
    let sized = emulator.flash(&flash_body(&files.url("/ok.wav"))).send().await.unwrap();
    assert_eq!(sized.status(), 200);
    let chunked = emulator.flash(&flash_body(&files.url("/chunked.wav"))).send().await.unwrap();
    let (status, code, message) = refusal(chunked).await;
    assert_eq!((status, code.as_str()), (500, "InternalError.Algo"));
    assert!(message.contains("Content-Length"), "{message}");
}

#[tokio::test]
async fn rates_are_enforced_when_asked() {
    let emulator = Emulator::start_with(&["--enforce-limits"]);
    let body = flash_body(&data_url(&wav(1_000, 1, 7)));
    let burst = futures::future::join_all((0..20).map(|_| emulator.flash(&body).send())).await;
    let (mut served, mut refused) = (0, 0);
    for answer in burst {
        match answer.unwrap() {
            answer if answer.status() == 200 => served += 1,
            answer => {
                assert_eq!(refusal(answer).await.1, "Throttling.BurstRate");
                refused += 1;
            }
        }
    }
    assert!((2..10).contains(&served) && refused > 10, "100 a minute is two in a second: {served} served");

    let queries =
        (0..30).map(|_| emulator.http.get(format!("{}/tasks/x", emulator.api)).bearer_auth(KEY).send());
    let statuses: Vec<u16> = futures::future::join_all(queries)
        .await
        .into_iter()
        .map(|answer| answer.unwrap().status().as_u16())
        .collect();
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!((20..30).contains(&served), "20 in a second: {served} served");
    assert!(statuses.contains(&429));
}
