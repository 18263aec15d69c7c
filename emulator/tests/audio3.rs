//! The family `qwen-audio-3.x`, `fun-asr` over plain HTTP: what is refused, and shapes that the SDK does not look at.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

mod support;

use serde_json::{Value, json};
use support::*;

const AUDIO: &str = "qwen-audio-3.1-asr-flash";
const TASKS: &str = "qwen-audio-3.1-asr-flash-filetrans";

fn body(model: &str, audio: &str, parameters: &Value) -> Value {
    let message =
        json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": audio}}]});
    json!({"model": model, "input": {"messages": [message]}, "parameters": parameters})
}

fn manifest(audio: &[u8], sentences: Value) -> tempfile::NamedTempFile {
    let manifest = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(manifest.path(), json!({sha256_hex(audio): {"sentences": sentences}}).to_string())
        .unwrap();
    manifest
}

#[tokio::test]
async fn requests_of_the_other_familys_shape_are_refused() {
    let emulator = Emulator::start();
    let audio = data_url(&wav(1_000, 1, 1));
    let good = body(AUDIO, &audio, &json!({"format": "wav"}));
    assert_eq!(emulator.flash(&good).send().await.unwrap().status(), 200);
    let mut of_qwen3 = flash_body(&audio);
    of_qwen3["model"] = json!(AUDIO);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    let many: Value =
        (0..51).map(|number| (format!("word {number}"), json!(50))).collect::<serde_json::Map<_, _>>().into();
    for (what, bad) in [
        ("an audio of the other family", of_qwen3),
        ("no format", with(&|body| body["parameters"] = json!({}))),
        ("a rate that is a number", with(&|body| body["parameters"]["sample_rate"] = json!(16_000))),
        ("a language that is no hint", with(&|body| body["parameters"]["language_hints"] = json!(["fil"]))),
        (
            "five hints",
            with(&|body| body["parameters"]["language_hints"] = json!(["en", "de", "fr", "es", "it"])),
        ),
        ("a weight out of range", with(&|body| body["parameters"]["vocabulary"] = json!({"Hark": 6}))),
        (
            "a hot word too long",
            with(&|body| body["parameters"]["vocabulary"] = json!({"a b c d e f g h": 1})),
        ),
        ("too many of the strongest", with(&|body| body["parameters"]["vocabulary"] = many.clone())),
        (
            "a system message",
            with(&|body| {
                let messages = body["input"]["messages"].as_array_mut().unwrap();
                messages.insert(0, json!({"role": "system", "content": [{"text": "context"}]}));
            }),
        ),
        (
            "the audio before the context",
            with(&|body| {
                let turn = json!({"role": "user", "content": [{"type": "input_text", "text": "context"}]});
                body["input"]["messages"].as_array_mut().unwrap().push(turn);
            }),
        ),
        (
            "speakers of 3.0",
            with(&|body| {
                body["model"] = json!("qwen-audio-3.0-asr-flash");
                body["parameters"]["speaker_diarization_enabled"] = json!(true);
            }),
        ),
        (
            "hot words of fun-asr",
            with(&|body| {
                body["model"] = json!("fun-asr-flash");
                body["parameters"]["vocabulary"] = json!({"Hark": 4});
            }),
        ),
    ] {
        let (status, code, message) = refusal(emulator.flash(&bad).send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (400, "InvalidParameter"), "{what}: {message}");
    }
    let long = body(AUDIO, &data_url(&wav(300_001, 1, 1)), &json!({"format": "wav"}));
    let (_, code, _) = refusal(emulator.flash(&long).send().await.unwrap()).await;
    assert_eq!(code, "AUDIO_DURATION_TOO_LONG");
}

#[tokio::test]
async fn no_model_of_the_family_is_in_the_us() {
    let emulator = Emulator::start_with(&["--region", "us"]);
    let body = body(AUDIO, &data_url(&wav(1_000, 1, 1)), &json!({"format": "wav"}));
    let (status, code, _) = refusal(emulator.flash(&body).send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (404, "ModelNotFound"));
}

#[tokio::test]
async fn words_of_the_services_list_are_masked_unless_the_request_says_no() {
    let audio = wav(2_000, 1, 2);
    let manifest = manifest(
        &audio,
        json!([{"begin_time": 0, "end_time": 900, "text": "That damn contract.", "speaker_id": 3}]),
    );
    let emulator =
        Emulator::start_with(&["--task-delay", "10ms", "--manifest", manifest.path().to_str().unwrap()]);
    let files = FileServer::start(audio.clone()).await;
    for (parameters, text) in [
        (json!({}), "That **** contract."),
        (json!({"special_word_filter": {"system_reserved_filter": true}}), "That **** contract."),
        (json!({"special_word_filter": {"system_reserved_filter": false}}), "That damn contract."),
    ] {
        let submit =
            json!({"model": TASKS, "input": {"file_urls": [files.url("/ok.wav")]}, "parameters": parameters});
        let answer: Value = emulator.submit(&submit).send().await.unwrap().json().await.unwrap();
        let done = emulator.ended(answer["output"]["task_id"].as_str().unwrap()).await;
        let url =
            done["output"]["results"][0]["transcription_url"].as_str().unwrap_or_else(|| panic!("{done}"));
        let result: Value = emulator.http.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(result["transcripts"][0]["text"], text);
        assert_eq!(result["properties"]["original_duration_in_milliseconds"], 2_000);
    }
}

#[tokio::test]
async fn audio_without_speech_is_refused_with_the_services_code() {
    let emulator = Emulator::start_with(&["--fault", "empty_text"]);
    let body = body(AUDIO, &data_url(&wav(1_000, 1, 3)), &json!({"format": "wav"}));
    let (status, code, _) = refusal(emulator.flash(&body).send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (400, "ASR_RESPONSE_HAVE_NO_WORDS"));
    assert!(emulator.journal().iter().all(|line| line.charged_seconds.is_none()));
}

#[tokio::test]
async fn sentences_follow_each_other_in_a_stream() {
    let audio = wav(4_000, 1, 4);
    let sentences = json!([
        {"begin_time": 0, "end_time": 900, "text": "Good morning."},
        {"begin_time": 1_500, "end_time": 3_000, "text": "How are you?"},
    ]);
    let manifest = manifest(&audio, sentences);
    let emulator = Emulator::start_with(&["--manifest", manifest.path().to_str().unwrap()]);
    let answer =
        emulator.streamed(&body(AUDIO, &data_url(&audio), &json!({"format": "wav"}))).send().await.unwrap();
    let events = events(&answer.text().await.unwrap());
    let shown: Vec<(u64, bool, String)> = events
        .iter()
        .map(|(_, _, _, data)| {
            let sentence = &data["output"]["sentence"];
            let text = sentence["text"].as_str().unwrap().to_owned();
            (sentence["sentence_id"].as_u64().unwrap(), sentence["sentence_end"] == true, text)
        })
        .collect();
    let expected = [
        (1, false, "Good"),
        (1, true, "Good morning."),
        (2, false, "How"),
        (2, false, "How are"),
        (2, false, "How are you?"),
        (2, true, "How are you?"),
    ];
    assert_eq!(shown, expected.map(|(id, ended, text)| (id, ended, text.to_owned())));
    assert_eq!(events.last().unwrap().3["output"]["text"], "Good morning. How are you?");
}
