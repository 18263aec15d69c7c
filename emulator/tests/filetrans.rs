//! Filetrans, the temporary storage and the result files over plain HTTP.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

mod support;

use dashscope_emulator::journal::Kind;
use dashscope_emulator::{text_for, text_for_channel};
use serde_json::{Value, json};
use support::*;

#[tokio::test]
async fn an_uploaded_file_becomes_a_result_with_times_inside_the_recording() {
    let emulator = Emulator::start_with(&["--task-delay", "50ms"]);
    let audio = wav(3_900, 2, 1);
    let url = emulator.upload(FILETRANS, "call.wav", &audio).await;
    let parameters = json!({"channel_id": ["0", "1"], "enable_words": true});
    let task = emulator.submitted(&url, parameters).await;
    let done = emulator.ended(&task).await;
    assert_eq!(done["output"]["task_status"], "SUCCEEDED", "{done}");
    assert_eq!(done["usage"]["seconds"], 6, "every channel is billed by itself");
    assert_eq!(done["output"]["task_metrics"], json!({"TOTAL": 1, "SUCCEEDED": 1, "FAILED": 0}));

    let result_url = done["output"]["result"]["transcription_url"].as_str().unwrap();
    assert!(result_url.contains("%3A") && result_url.contains("%2B"), "{result_url}");
    let response = emulator.http.get(result_url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let result: Value = response.json().await.unwrap();
    assert_eq!(result["file_url"], url);
    assert_eq!(result["audio_info"], json!({"format": "wav", "sample_rate": 8000}));
    for channel in [0, 1] {
        let transcript = &result["transcripts"][channel];
        assert_eq!(transcript["channel_id"], channel);
        assert_eq!(transcript["text"], text_for_channel(&sha256_hex(&audio), channel as u32));
        let sentence = &transcript["sentences"][0];
        assert_eq!((&sentence["begin_time"], &sentence["end_time"]), (&json!(0), &json!(3_900)));
        let words = sentence["words"].as_array().unwrap();
        assert!(words.len() > 5);
        assert_eq!(words.last().unwrap()["end_time"], 3_900);
    }
    let [line] = &emulator.journal_of(Kind::Task)[..] else { panic!("one line") };
    assert_eq!(line.charged_seconds, Some(6));
    assert_eq!(line.sha256.as_deref(), Some(sha256_hex(&audio).as_str()));
    assert_eq!(emulator.journal_of(Kind::Submit)[0].charged_seconds, None);
}

#[tokio::test]
async fn the_manifest_gives_each_channel_its_sentences() {
    let audio = wav(5_000, 2, 2);
    let manifest = tempfile::NamedTempFile::new().unwrap();
    let known = json!({sha256_hex(&audio): {"language": "en", "sentences": [
        {"channel_id": 1, "begin_time": 2000, "end_time": 9000, "text": "Fine, thanks.", "emotion": "happy"},
        {"channel_id": 0, "begin_time": 100, "end_time": 1900, "text": "How are you?"},
    ]}});
    std::fs::write(manifest.path(), known.to_string()).unwrap();
    let arguments = ["--task-delay", "10ms", "--manifest", manifest.path().to_str().unwrap()];
    let emulator = Emulator::start_with(&arguments);
    let url = emulator.upload(FILETRANS, "call.wav", &audio).await;
    let result = emulator.result_of(&url, json!({"channel_id": [0, 1]})).await;
    assert_eq!(result["transcripts"][0]["text"], "How are you?");
    let second = &result["transcripts"][1]["sentences"];
    assert_eq!(second.as_array().unwrap().len(), 1);
    assert_eq!(second[0]["end_time"], 5_000, "no time lies beyond the recording");
    assert_eq!(second[0]["emotion"], "happy");
    assert_eq!(second[0].get("words"), None);
}

#[tokio::test]
async fn a_public_url_is_downloaded_by_the_service_itself() {
    let audio = wav(2_000, 1, 3);
    let files = FileServer::start(audio.clone()).await;
    let emulator = Emulator::start_with(&["--task-delay", "10ms"]);
    let result = emulator.result_of(&files.url("/ok.wav"), json!({})).await;
    assert_eq!(result["transcripts"][0]["text"], text_for(&sha256_hex(&audio)));
    for (path, code) in [
        ("/404", "FILE_404_NOT_FOUND"),
        ("/403", "FILE_403_FORBIDDEN"),
        ("/500", "FILE_SERVER_ERROR"),
        ("/text", "FILE_PARSE_FAILED"),
    ] {
        assert_eq!(emulator.failure_of(&files.url(path), json!({})).await, code);
    }
    assert_eq!(emulator.failure_of("http://127.0.0.1:1/x.wav", json!({})).await, "FILE_DOWNLOAD_FAILED");
    assert_eq!(emulator.failure_of("ftp://host/x.wav", json!({})).await, "REQUEST_INVALID_FILE_URL_VALUE");
    let beyond = emulator.failure_of(&files.url("/ok.wav"), json!({"channel_id": [1]})).await;
    assert_eq!(beyond, "FILE_CHECK_FAILED");
}

#[tokio::test]
async fn an_upload_is_found_only_with_the_header_and_the_model_of_its_policy() {
    let emulator = Emulator::start_with(&["--task-delay", "10ms"]);
    let audio = wav(1_000, 1, 4);
    let url = emulator.upload(FILETRANS, "call.wav", &audio).await;
    let without_header = emulator
        .post("/services/audio/asr/transcription", &filetrans_body(&url, json!({})))
        .header("X-DashScope-Async", "enable");
    let answer: Value = without_header.send().await.unwrap().json().await.unwrap();
    let ended = emulator.ended(answer["output"]["task_id"].as_str().unwrap()).await;
    assert_eq!(ended["output"]["code"], "REQUEST_INVALID_FILE_URL_VALUE");

    let other_model = emulator.upload(FLASH, "call.wav", &audio).await;
    assert_eq!(emulator.failure_of(&other_model, json!({})).await, "FILE_403_FORBIDDEN");
    assert_eq!(emulator.failure_of("oss://nobody/x.wav", json!({})).await, "FILE_404_NOT_FOUND");

    let flash = emulator.flash(&flash_body(&other_model)).header("X-DashScope-OssResourceResolve", "enable");
    assert_eq!(flash.send().await.unwrap().status(), 200);
    let (status, code, _) = refusal(emulator.flash(&flash_body(&other_model)).send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (400, "InvalidURL"));
}

#[tokio::test]
async fn a_task_without_parameters_is_taken_and_fails() {
    let emulator = Emulator::start_with(&["--task-delay", "10ms"]);
    let url = emulator.upload(FILETRANS, "call.wav", &wav(1_000, 1, 5)).await;
    let body = json!({"model": FILETRANS, "input": {"file_url": url}});
    let answer: Value = emulator.submit(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["output"]["task_status"], "PENDING");
    let ended = emulator.ended(answer["output"]["task_id"].as_str().unwrap()).await;
    assert_eq!(ended["output"]["task_status"], "FAILED");
}

#[tokio::test]
async fn a_submit_is_held_against_the_reference() {
    let emulator = Emulator::start();
    let good = filetrans_body("https://example.com/x.wav", json!({}));
    let sync = emulator.post("/services/audio/asr/transcription", &good).send().await.unwrap();
    let (status, code, message) = refusal(sync).await;
    assert_eq!((status, code.as_str()), (403, "AccessDenied"));
    assert!(message.contains("does not support synchronous calls"), "{message}");

    let changed = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    for (body, status, code) in [
        (changed("/model", json!(FLASH)), 400, "InvalidParameter"),
        (changed("/model", json!("qwen9")), 404, "ModelNotFound"),
        (changed("/model", json!("")), 400, "BadRequest.EmptyModel"),
        (changed("/input", json!(null)), 400, "BadRequest.EmptyInput"),
        (changed("/input", json!({"file_urls": ["https://example.com/x.wav"]})), 400, "InvalidParameter"),
        (changed("/parameters", json!({"language": "nl"})), 400, "InvalidParameter"),
        (changed("/parameters", json!({"channel_id": []})), 400, "InvalidParameter"),
        (changed("/parameters", json!({"channel_id": [-1]})), 400, "InvalidParameter"),
        (changed("/parameters", json!({"enable_words": "yes"})), 400, "InvalidParameter"),
    ] {
        let answer = refusal(emulator.submit(&body).send().await.unwrap()).await;
        assert_eq!((answer.0, answer.1.as_str()), (status, code), "{body}");
    }
    assert_eq!(emulator.journal_of(Kind::Task).len(), 0);
}

#[tokio::test]
async fn tasks_are_listed_in_pages_and_by_what_they_are() {
    let emulator = Emulator::start_with(&["--task-delay", "0"]);
    let url = emulator.upload(FILETRANS, "call.wav", &wav(1_000, 1, 6)).await;
    let mut tasks = Vec::new();
    for _ in 0..5 {
        let task = emulator.submitted(&url, json!({})).await;
        emulator.ended(&task).await;
        tasks.push(task);
    }
    let failed = emulator.submitted("ftp://x", json!({})).await;
    emulator.ended(&failed).await;
    let list = async |query: &str| -> Value {
        let url = format!("{}/tasks?{query}", emulator.api);
        emulator.http.get(url).bearer_auth(KEY).send().await.unwrap().json().await.unwrap()
    };
    let page = list("page_no=2&page_size=4").await;
    assert_eq!((&page["total"], &page["total_page"]), (&json!(6), &json!(2)));
    assert_eq!(page["tasks"], page["data"]);
    let ids: Vec<&str> =
        page["tasks"].as_array().unwrap().iter().map(|row| row["task_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&tasks[1], &tasks[0]]);
    assert_eq!(page["tasks"][0]["model_name"], FILETRANS);
    assert!(page["tasks"][0]["end_time"].is_i64());

    let only_failed = list("status=FAILED").await;
    assert_eq!(only_failed["tasks"][0]["task_id"], failed.as_str());
    assert_eq!(only_failed["total"], 1);
    assert_eq!(list("model_name=qwen3-asr-flash").await["total"], 0);
    let (now, an_hour) = (jiff::Timestamp::now(), jiff::SignedDuration::from_hours(1));
    let beijing = |time: jiff::Timestamp| (time + an_hour * 8).strftime("%Y%m%d%H%M%S").to_string();
    let around = format!("start_time={}&end_time={}", beijing(now - an_hour), beijing(now + an_hour));
    assert_eq!(list(&around).await["total"], 6);
    let before = format!("start_time={}&end_time={}", beijing(now - an_hour * 2), beijing(now - an_hour));
    assert_eq!(list(&before).await["total"], 0);
    assert_eq!(list("start_time=yesterday").await["code"], "InvalidParameter");
}

#[tokio::test]
async fn only_a_pending_task_can_be_canceled() {
    let emulator = Emulator::start_with(&["--task-delay", "1h"]);
    let task = emulator.submitted("https://example.com/x.wav", json!({})).await;
    let cancel = async || {
        let url = format!("{}/tasks/{task}/cancel", emulator.api);
        emulator.http.post(url).bearer_auth(KEY).send().await.unwrap()
    };
    assert_eq!(cancel().await.status(), 200);
    assert_eq!(emulator.query(&task).await["output"]["task_status"], "CANCELED");
    let (status, code, _) = refusal(cancel().await).await;
    assert_eq!((status, code.as_str()), (400, "UnsupportedOperation"));
}

#[tokio::test]
async fn an_unknown_task_is_no_http_error() {
    let emulator = Emulator::start();
    let answer = emulator.query("00000000-0000-0000-0000-000000000000").await;
    assert_eq!(answer["output"]["task_status"], "UNKNOWN");
}

#[tokio::test]
async fn tasks_and_results_expire() {
    let emulator = Emulator::start_with(&["--task-delay", "0", "--result-ttl", "2s"]);
    let url = emulator.upload(FILETRANS, "call.wav", &wav(1_000, 1, 7)).await;
    let task = emulator.submitted(&url, json!({})).await;
    let done = emulator.ended(&task).await;
    let result_url = done["output"]["result"]["transcription_url"].as_str().unwrap();
    eventually("the task is forgotten", async || {
        emulator.query(&task).await["output"]["task_status"] == "UNKNOWN"
    })
    .await;
    eventually("the result is gone", async || {
        emulator.http.get(result_url).send().await.unwrap().status() == 403
    })
    .await;
}

#[tokio::test]
async fn a_result_wants_its_exact_url_and_no_key() {
    let emulator = Emulator::start_with(&["--task-delay", "0"]);
    let url = emulator.upload(FILETRANS, "call.wav", &wav(1_000, 1, 8)).await;
    let task = emulator.submitted(&url, json!({})).await;
    let done = emulator.ended(&task).await;
    let result_url = done["output"]["result"]["transcription_url"].as_str().unwrap();
    let status_and_body = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let with_key = status_and_body(emulator.http.get(result_url).bearer_auth(KEY)).await;
    assert_eq!(with_key.0, 400);
    assert!(with_key.1.contains("<Code>InvalidArgument</Code>"), "{}", with_key.1);
    let decoded = status_and_body(emulator.http.get(result_url.replace("%2B", "+"))).await;
    assert_eq!(decoded.0, 403);
    assert!(decoded.1.contains("<Code>SignatureDoesNotMatch</Code>"), "{}", decoded.1);
    let unknown = status_and_body(emulator.http.get(format!("{}/results/x.json", emulator.storage))).await;
    assert_eq!(unknown.0, 404);
    let upload = format!("{}/{}", emulator.storage, url.strip_prefix("oss://").unwrap());
    assert_eq!(status_and_body(emulator.http.get(upload)).await.0, 403, "uploads cannot be fetched");
}

#[tokio::test]
async fn the_storage_holds_an_upload_against_its_policy() {
    let emulator = Emulator::start_with(&["--upload-limit-mb", "1"]);
    let audio = wav(1_000, 1, 9);
    let policy = emulator.policy(FILETRANS).await;
    let fields = upload_fields(&policy, "call.wav");
    let send = async |fields: &[(String, String)], audio: &[u8], key: bool| {
        let mut request = emulator.http.post(&emulator.storage).multipart(form(fields, "call.wav", audio));
        if key {
            request = request.bearer_auth(KEY);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.text().await.unwrap();
        let code = body.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
        (status, code.unwrap_or_default().to_owned())
    };
    let changed = |name: &str, value: &str| {
        let mut fields = fields.clone();
        fields.iter_mut().find(|field| field.0 == name).unwrap().1 = value.to_owned();
        fields
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(send(&fields, &audio, true).await, refused(400, "InvalidArgument"));
    assert_eq!(
        send(&changed("Signature", "bm8="), &audio, false).await,
        refused(403, "SignatureDoesNotMatch")
    );
    assert_eq!(
        send(&changed("key", "elsewhere/call.wav"), &audio, false).await,
        refused(403, "AccessDenied")
    );
    assert_eq!(
        send(&changed("x-oss-forbid-overwrite", "false"), &audio, false).await,
        refused(403, "AccessDenied")
    );
    assert_eq!(
        send(&changed("x-oss-object-acl", "public-read"), &audio, false).await,
        refused(403, "AccessDenied")
    );
    assert_eq!(
        send(&changed("OSSAccessKeyId", "me"), &audio, false).await,
        refused(403, "InvalidAccessKeyId")
    );
    assert_eq!(send(&fields, &vec![0; (1 << 20) + 1], false).await, refused(400, "EntityTooLarge"));
    assert_eq!(send(&fields, &audio, false).await, refused(200, ""));
    assert_eq!(send(&fields, &audio, false).await, refused(409, "FileAlreadyExists"));
}

#[tokio::test]
async fn an_old_policy_is_refused() {
    let emulator = Emulator::start_with(&["--policy-ttl", "0"]);
    let policy = emulator.policy(FILETRANS).await;
    let form = form(&upload_fields(&policy, "call.wav"), "call.wav", &wav(1_000, 1, 10));
    let response = emulator.http.post(&emulator.storage).multipart(form).send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(response.text().await.unwrap().contains("Policy expired"));
    assert_eq!(emulator.journal_of(Kind::Upload)[0].outcome, "AccessDenied");
}
