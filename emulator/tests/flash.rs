//! Flash over plain HTTP: answers, streams, limits.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

mod support;

use dashscope_emulator::journal::Kind;
use dashscope_emulator::text_for;
use serde_json::{Value, json};
use support::*;

fn text_of(data: &Value) -> &str {
    data["output"]["choices"][0]["message"]["content"][0]["text"].as_str().unwrap_or_default()
}

fn finish_of(data: &Value) -> &str {
    data["output"]["choices"][0]["finish_reason"].as_str().unwrap()
}

#[tokio::test]
async fn answers_with_the_text_made_from_the_hash() {
    let emulator = Emulator::start();
    let audio = wav(1_900, 2, 1);
    let response = emulator.flash(&flash_body(&data_url(&audio))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(text_of(&body), text_for(&sha256_hex(&audio)));
    assert_eq!(finish_of(&body), "stop");
    assert_eq!(body["request_id"], request_id);
    assert_eq!(body["usage"]["seconds"], 1, "the service cuts seconds off");
    let annotation = &body["output"]["choices"][0]["message"]["annotations"][0];
    assert_eq!(annotation, &json!({"type": "audio_info", "language": "en", "emotion": "neutral"}));

    let [line] = &emulator.journal_of(Kind::Flash)[..] else { panic!("one line") };
    assert_eq!(line.sha256.as_deref(), Some(sha256_hex(&audio).as_str()));
    assert_eq!((line.charged_seconds, line.outcome.as_str()), (Some(1), "ok"));
    assert_eq!(line.key.as_deref(), Some("sk-…cdef"));
    assert_eq!(line.request_id, request_id);
}

#[tokio::test]
async fn answers_with_the_text_of_the_manifest() {
    let audio = wav(1_000, 1, 2);
    let manifest = tempfile::NamedTempFile::new().unwrap();
    let known = json!({sha256_hex(&audio): {"text": "你好，世界", "language": "zh", "emotion": "happy"}});
    std::fs::write(manifest.path(), known.to_string()).unwrap();
    let emulator = Emulator::start_with(&["--manifest", manifest.path().to_str().unwrap()]);
    let mut body = flash_body(&data_url(&audio));
    let answer: Value = emulator.flash(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(text_of(&answer), "你好，世界");
    let annotation = &answer["output"]["choices"][0]["message"]["annotations"][0];
    assert_eq!(annotation, &json!({"type": "audio_info", "language": "zh", "emotion": "happy"}));

    body["parameters"]["asr_options"]["language"] = json!("yue");
    let answer: Value = emulator.flash(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["output"]["choices"][0]["message"]["annotations"][0]["language"], "yue");
}

#[tokio::test]
async fn streams_the_time_in_place_of_the_text() {
    let emulator = Emulator::start_with(&["--clock-words", "3"]);
    let mut body = flash_body(&data_url(&wav(1_000, 1, 3)));
    body["parameters"]["incremental_output"] = json!(true);
    let response = emulator.streamed(&body).send().await.unwrap();
    let events = events(&response.text().await.unwrap());
    let (last, before) = events.split_last().unwrap();
    let words: Vec<u64> =
        before.iter().map(|(_, _, _, data)| text_of(data).trim().parse().unwrap()).collect();
    assert_eq!(words.len(), 3);
    assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "{words:?}");
    assert_eq!((finish_of(&last.3), last.0), ("stop", 4));

    body["parameters"]["incremental_output"] = json!(false);
    let response = emulator.streamed(&body).send().await.unwrap();
    let events = self::events(&response.text().await.unwrap());
    let texts: Vec<&str> = events.iter().map(|(_, _, _, data)| text_of(data)).collect();
    assert!(texts[2].starts_with(texts[1]) && texts[3] == texts[2], "{texts:?}");
}

#[tokio::test]
async fn streams_new_pieces_and_ends_with_an_empty_stop() {
    let emulator = Emulator::start();
    let audio = wav(1_000, 1, 3);
    let mut body = flash_body(&data_url(&audio));
    body["parameters"]["incremental_output"] = json!(true);
    let response = emulator.streamed(&body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream;charset=UTF-8");
    let events = events(&response.text().await.unwrap());
    let (last, before) = events.split_last().unwrap();
    let joined: String = before.iter().map(|(_, _, _, data)| text_of(data)).collect();
    assert_eq!(joined, text_for(&sha256_hex(&audio)));
    for (position, (id, event, status, data)) in before.iter().enumerate() {
        assert_eq!((*id as usize, event.as_str(), *status), (position + 1, "result", 200));
        assert_eq!(finish_of(data), "null");
        assert_eq!(data["usage"]["seconds"], 1);
    }
    assert_eq!(finish_of(&last.3), "stop");
    let message = &last.3["output"]["choices"][0]["message"];
    assert_eq!(message["content"], json!([]));
    assert_eq!(message.get("annotations"), None);
}

#[tokio::test]
async fn streams_everything_so_far_and_the_whole_text_once_more() {
    let emulator = Emulator::start();
    let audio = wav(1_000, 1, 4);
    let response = emulator.streamed(&flash_body(&data_url(&audio))).send().await.unwrap();
    let events = events(&response.text().await.unwrap());
    let texts: Vec<&str> = events.iter().map(|(_, _, _, data)| text_of(data)).collect();
    for pair in texts.windows(2) {
        assert!(pair[1].starts_with(pair[0]), "{pair:?}");
    }
    let whole = text_for(&sha256_hex(&audio));
    assert_eq!(texts[texts.len() - 2..], [whole.as_str(), whole.as_str()]);
    assert_eq!(finish_of(&events.last().unwrap().3), "stop");
}

#[tokio::test]
async fn takes_five_minutes_and_not_a_sample_more() {
    let emulator = Emulator::start();
    let fits = emulator.flash(&flash_body(&data_url(&wav(300_000, 1, 5)))).send().await.unwrap();
    assert_eq!(fits.status(), 200);
    let over = emulator.flash(&flash_body(&data_url(&wav(300_001, 1, 5)))).send().await.unwrap();
    let (status, code, message) = refusal(over).await;
    assert_eq!((status, code.as_str()), (400, "InvalidParameter"));
    assert!(message.contains("The audio is too long"), "{message}");
}

#[tokio::test]
async fn counts_a_data_url_at_its_encoded_size() {
    let emulator = Emulator::start();
    // 8 kHz stereo is 32,000 bytes a second: 10,485,760 encoded bytes hold 7,864,320 of audio, 245.76 s of it.
    let mut audio = wav(245_000, 2, 6);
    audio.resize(7_864_320, 6);
    let fits = emulator.flash(&flash_body(&data_url(&audio))).send().await.unwrap();
    assert_eq!(fits.status(), 200);
    audio.push(0);
    let over = emulator.flash(&flash_body(&data_url(&audio))).send().await.unwrap();
    let (status, code, message) = refusal(over).await;
    assert_eq!((status, code.as_str()), (400, "BadRequest.TooLarge"));
    assert!(message.contains("10485760"), "{message}");
}

#[tokio::test]
async fn work_that_was_begun_is_charged_even_if_the_client_gives_up() {
    let emulator = Emulator::start_with(&["--flash-delay", "800ms"]);
    let body = flash_body(&data_url(&wav(2_000, 1, 7)));
    let impatient = emulator.flash(&body).timeout(std::time::Duration::from_millis(400)).send().await;
    assert!(impatient.unwrap_err().is_timeout());
    eventually("the work is in the journal", async || {
        emulator.journal_of(Kind::Flash).iter().any(|line| line.charged_seconds == Some(2))
    })
    .await;
}
