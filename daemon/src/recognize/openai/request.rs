//! The two shapes of a request.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::multipart;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::form::Form;
use super::{Server, language};
use crate::recognize::Request;
use crate::recognize::error::Error;
use crate::recognize::http::{Content, EVENT_STREAM, JSON, Outgoing};

/// Tokens of an answer: twenty a second are more than anyone speaks …
const TOKENS_PER_SECOND: u64 = 20;
/// … and these are for the prefix and a short piece. A model that loops ends at this limit.
const MORE_TOKENS: u64 = 64;

impl Server {
    /// `POST /audio/transcriptions`.
    pub(super) async fn send_transcription(
        &self,
        form: Form,
        request: &Request<'_>,
        content: Content,
        format: &str,
    ) -> Result<Response, Error> {
        let bytes = content.bytes();
        let Outgoing { body, mut departure } = Outgoing::raw(content, request.clearance.clone());
        let file = multipart::Part::stream_with_length(body, bytes)
            .file_name(format!("audio.{format}"))
            .headers(HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type(format)))]));
        let mut fields = multipart::Form::new().text("model", self.config.model.clone());
        match request.hints.language.as_deref() {
            // This endpoint takes codes of two letters, and Whisper's for Filipino is Tagalog's.
            Some("fil") => fields = fields.text("language", "tl"),
            Some(language) => fields = fields.text("language", language.to_owned()),
            None if form.auto_language => fields = fields.text("language", "auto"),
            None => {}
        }
        if !request.hints.context.is_empty() {
            fields = fields.text("prompt", request.hints.context.clone());
        }
        fields = fields.text("response_format", if form.verbose { "verbose_json" } else { "json" });
        if form.has_words() {
            // With words alone, OpenAI leaves the segments out.
            for granularity in ["segment", "word"] {
                fields = fields.text("timestamp_granularities[]", granularity);
            }
        }
        if form.streams() {
            fields = fields.text("stream", "true");
        }
        let call = self.post("/audio/transcriptions", form).multipart(fields.part("file", file));
        self.http.watch(call, &mut departure).await
    }

    /// `POST /chat/completions`.
    pub(super) async fn send_chat(
        &self,
        form: Form,
        request: &Request<'_>,
        content: Content,
        format: &str,
    ) -> Result<Response, Error> {
        let (before, after) = chat(&self.config.model, form, request, format);
        let call = self.post("/chat/completions", form).header(CONTENT_TYPE, HeaderValue::from_static(JSON));
        self.http.send(call, Outgoing::base64(before, content, after, request.clearance.clone())).await
    }

    fn post(&self, path: &str, form: Form) -> RequestBuilder {
        let call = self.http.fresh.post(format!("{}{path}", self.base));
        let call =
            call.header(ACCEPT, HeaderValue::from_static(if form.streams() { EVENT_STREAM } else { JSON }));
        match &self.key {
            Some(key) => key.authorize(call),
            None => call,
        }
    }
}

/// The media type of the containers that are sent.
fn media_type(format: &str) -> &'static str {
    match format {
        "flac" => "audio/flac",
        _ => "audio/wav",
    }
}

/// The JSON before and after the base64 of the audio, which is not in memory.
fn chat(model: &str, form: Form, request: &Request<'_>, format: &str) -> (String, String) {
    let mut messages = String::new();
    if !request.hints.context.is_empty() {
        messages = json!({"role": "system", "content": request.hints.context}).to_string() + ",";
    }
    let (open, close) = match form.audio_url {
        true => {
            let open =
                format!(r#"{{"type":"audio_url","audio_url":{{"url":"data:{};base64,"#, media_type(format));
            (open, r#""}}"#.to_owned())
        }
        false => {
            let open = r#"{"type":"input_audio","input_audio":{"data":""#.to_owned();
            (open, format!(r#"","format":{}}}}}"#, Value::from(format)))
        }
    };
    let mut rest = json!({"model": model, "temperature": 0, "stream": form.streams()});
    if let Some(duration_ms) = request.duration_ms {
        rest["max_tokens"] = (duration_ms.div_ceil(1000) * TOKENS_PER_SECOND + MORE_TOKENS).into();
    }
    let mut begun = String::new();
    if form.begun
        && let Some(name) = request.hints.language.as_deref().and_then(language::name)
    {
        let text = format!("language {name}<asr_text>");
        begun = ",".to_owned() + &json!({"role": "assistant", "content": text}).to_string();
        rest["continue_final_message"] = true.into();
        rest["add_generation_prompt"] = false.into();
    }
    // The object without its opening brace: the messages come first.
    let rest = rest.to_string().split_off(1);
    let before = format!(r#"{{"messages":[{messages}{{"role":"user","content":[{open}"#);
    (before, format!("{close}]}}{begun}],{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::{Audio, Hints};

    fn sent(form: Form, language: Option<&str>, context: Option<&str>) -> Value {
        let hints = Hints {
            language: language.map(str::to_owned),
            context: context.unwrap_or_default().to_owned(),
            hotwords: Vec::new(),
        };
        let request = Request {
            model: "Qwen/Qwen3-ASR-1.7B",
            audio: Audio::Url("none"),
            format: None,
            channels: &[0],
            hints: &hints,
            itn: false,
            words: false,
            speakers: 0,
            partials: true,
            duration_ms: Some(1_500),
            marker: None,
            clearance: None,
        };
        let (before, after) = chat(request.model, form, &request, "flac");
        serde_json::from_str(&format!("{before}UklGRg=={after}")).unwrap()
    }

    #[test]
    fn a_chat_carries_the_audio_the_context_and_the_language() {
        let form = Form { audio_url: true, stream: true, begun: true, ..Form::default() };
        let part = json!({"type": "audio_url", "audio_url": {"url": "data:audio/flac;base64,UklGRg=="}});
        assert_eq!(
            sent(form, Some("de"), Some("names: \"Ada\"")),
            json!({
                "model": "Qwen/Qwen3-ASR-1.7B", "temperature": 0, "stream": true, "max_tokens": 104,
                "continue_final_message": true, "add_generation_prompt": false,
                "messages": [
                    {"role": "system", "content": "names: \"Ada\""},
                    {"role": "user", "content": [part]},
                    {"role": "assistant", "content": "language German<asr_text>"},
                ],
            })
        );
        let part = json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "flac"}});
        assert_eq!(
            sent(Form::default(), None, None),
            json!({
                "model": "Qwen/Qwen3-ASR-1.7B", "temperature": 0, "stream": false, "max_tokens": 104,
                "messages": [{"role": "user", "content": [part]}],
            })
        );
    }
}
