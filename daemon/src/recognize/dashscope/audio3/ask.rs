//! The family's requests.

use serde_json::{Map, Value, json};

use crate::config::Languages;
use crate::recognize::dashscope::flash::FORMATS;
use crate::recognize::{Audio, Request};

/// The JSON of a flash request before and after the audio, which is a text with its quotes.
pub(in crate::recognize::dashscope) fn flash_body(request: &Request<'_>) -> (String, String) {
    let mut earlier = String::new();
    if !request.hints.context.is_empty() {
        earlier = turn(&request.hints.context).to_string() + ",";
    }
    let mut parameters = parameters(request);
    parameters.insert("format".into(), format(request).into());
    if request.speakers > 0 {
        parameters.insert("speaker_diarization_enabled".into(), true.into());
    }
    let (model, parameters) = (Value::from(request.model), Value::from(parameters));
    // The audio has to be in the last message.
    let before = format!(
        r#"{{"model":{model},"input":{{"messages":[{earlier}{{"role":"user","content":[{{"type":"input_audio","input_audio":{{"data":"#
    );
    (before, format!(r#"}}}}]}}]}},"parameters":{parameters}}}"#))
}

/// The body of a submit.
pub(in crate::recognize::dashscope) fn submit_body(request: &Request<'_>, file_url: &str) -> Value {
    let mut parameters = parameters(request);
    parameters.insert("channel_id".into(), json!(request.channels));
    if request.speakers > 0 {
        parameters.insert("diarization_enabled".into(), true.into());
    }
    if request.speakers > 1 {
        parameters.insert("speaker_count".into(), request.speakers.into());
    }
    let mut input = json!({"file_urls": [file_url]});
    if !request.hints.context.is_empty() {
        input["context"] = json!([turn(&request.hints.context)]);
    }
    json!({"model": request.model, "input": input, "parameters": parameters})
}

/// A turn of context.
fn turn(context: &str) -> Value {
    json!({"role": "user", "content": [{"type": "input_text", "text": context}]})
}

/// The parameters of requests and submits.
fn parameters(request: &Request<'_>) -> Map<String, Value> {
    let mut parameters = Map::new();
    // Without this, tasks replace words of a list of the provider's by asterisks, and every alert and check on them is wrong.
    parameters.insert("special_word_filter".into(), json!({"system_reserved_filter": false}));
    if let Some(hint) = request.hints.language.as_deref().and_then(|code| Languages::Audio3.code(code)) {
        parameters.insert("language_hints".into(), json!([hint]));
    }
    if !request.hints.hotwords.is_empty() {
        let weights =
            request.hints.hotwords.iter().map(|hotword| (hotword.word.clone(), hotword.weight.into()));
        parameters.insert("vocabulary".into(), Value::Object(weights.collect()));
    }
    parameters
}

/// The container, which is documented as required. Of a URL about which nothing is known it is guessed: without it the request is refused.
fn format<'a>(request: &'a Request<'_>) -> &'a str {
    match &request.audio {
        Audio::Inline { format, .. } => format,
        Audio::Url(url) => {
            let path = url.split(['?', '#']).next().unwrap_or_default();
            let extension =
                path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, end)| end);
            let named =
                extension.and_then(|end| FORMATS.into_iter().find(|format| format.eq_ignore_ascii_case(end)));
            request.format.or(named).unwrap_or("wav")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Hotword;
    use crate::recognize::Hints;

    fn request<'a>(hints: &'a Hints, audio: Audio<'a>) -> Request<'a> {
        Request {
            model: "qwen-audio-3.1-asr-flash",
            audio,
            format: None,
            channels: &[0],
            hints,
            itn: false,
            words: true,
            speakers: 0,
            partials: true,
            duration_ms: None,
            marker: None,
            clearance: None,
        }
    }

    fn hints() -> Hints {
        Hints {
            language: Some("fil".into()),
            context: "calls".into(),
            hotwords: vec![Hotword { word: "Hark".into(), weight: 5 }],
        }
    }

    #[test]
    fn a_flash_request_is_as_documented() {
        let hints = hints();
        let (before, after) = flash_body(&request(&hints, Audio::Url("https://host/a.mp3?Signature=x.y")));
        let body: Value = serde_json::from_str(&format!("{before}\"https://host/a.mp3\"{after}")).unwrap();
        let audio = json!({"type": "input_audio", "input_audio": {"data": "https://host/a.mp3"}});
        assert_eq!(
            body,
            json!({
                "model": "qwen-audio-3.1-asr-flash",
                "input": {"messages": [
                    {"role": "user", "content": [{"type": "input_text", "text": "calls"}]},
                    {"role": "user", "content": [audio]},
                ]},
                "parameters": {
                    "format": "mp3", "language_hints": ["tl"], "vocabulary": {"Hark": 5},
                    "special_word_filter": {"system_reserved_filter": false},
                },
            })
        );
        let speakers =
            Request { speakers: 2, format: Some("flac"), ..request(&hints, Audio::Url("https://host/x")) };
        let (_, after) = flash_body(&speakers);
        assert!(
            after.contains(r#""speaker_diarization_enabled":true"#) && after.contains(r#""format":"flac""#),
            "{after}"
        );
    }

    #[test]
    fn a_submit_is_as_documented_with_the_word_mask_off() {
        let hints = hints();
        let submit = |speakers: u32| {
            submit_body(&Request { speakers, ..request(&hints, Audio::Url("u")) }, "oss://dir/a.wav")
        };
        assert_eq!(
            submit(2),
            json!({
                "model": "qwen-audio-3.1-asr-flash",
                "input": {
                    "file_urls": ["oss://dir/a.wav"],
                    "context": [{"role": "user", "content": [{"type": "input_text", "text": "calls"}]}],
                },
                "parameters": {
                    "channel_id": [0], "language_hints": ["tl"], "vocabulary": {"Hark": 5},
                    "special_word_filter": {"system_reserved_filter": false},
                    "diarization_enabled": true, "speaker_count": 2,
                },
            })
        );
        assert_eq!(submit(1)["parameters"].get("speaker_count"), None);
        assert_eq!(submit(0)["parameters"].get("diarization_enabled"), None);
    }
}
