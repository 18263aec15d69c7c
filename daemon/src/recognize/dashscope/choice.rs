//! What one answer of `flash`, or one event of its stream, says, however it is wrapped.

use serde_json::Value;

/// The first choice of an answer; there is no other.
pub(super) struct Choice<'a> {
    choice: &'a Value,
    message: &'a Value,
}

/// Nothing more of the text comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// The service cut the text.
    pub(super) truncated: bool,
}

impl<'a> Choice<'a> {
    pub(super) fn of(answer: &'a Value) -> Self {
        let choice = &answer["output"]["choices"][0];
        // Streams of the compatible mode call it so.
        let message = if choice["message"].is_object() { &choice["message"] } else { &choice["delta"] };
        Choice { choice, message }
    }

    /// The piece of the text. `None`: something was said, and there is no text in it.
    pub(super) fn text(&self) -> Option<String> {
        // Some have the text itself where the content would be.
        let places = [&self.message["content"], &self.message["text"], &self.choice["text"]];
        said(places.into_iter().find(|place| !place.is_null()).unwrap_or(&Value::Null))
    }

    /// `language` or `emotion`, as it was said last.
    pub(super) fn annotation(&self, name: &str) -> Option<String> {
        let annotations = self.message["annotations"].as_array().into_iter().flatten();
        let mut values = annotations.filter_map(|annotation| annotation[name].as_str());
        values.rfind(|value| !value.is_empty()).map(str::to_owned)
    }

    /// While it runs the reason is null, or the word "null". In any case: an end that was missed would be paid for twice.
    pub(super) fn end(&self) -> Option<End> {
        let reason = self.choice["finish_reason"].as_str()?.to_ascii_lowercase();
        matches!(reason.as_str(), "stop" | "length").then(|| End { truncated: reason == "length" })
    }
}

/// The text of a message's content: a list of parts, or what would be one of them. `None`: there is something, and no text in it.
fn said(content: &Value) -> Option<String> {
    let part = |part: &Value| match part {
        Value::String(text) => Some(text.clone()),
        part => match &part["text"] {
            Value::Null if is_empty(part) || part.get("text").is_some() => Some(String::new()),
            text => text.as_str().map(str::to_owned),
        },
    };
    let parts = match content {
        Value::Array(parts) => parts.as_slice(),
        part => std::slice::from_ref(part),
    };
    // A part of another kind beside a text takes nothing away from it.
    let texts: Vec<String> = parts.iter().filter_map(part).collect();
    (parts.is_empty() || !texts.is_empty()).then(|| texts.concat())
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(choice: Value) -> Option<String> {
        Choice::of(&json!({"output": {"choices": [choice]}})).text()
    }

    #[test]
    fn a_text_is_read_whatever_it_is_wrapped_in() {
        for content in [
            json!("so"),
            json!(["so"]),
            json!(["s", "o"]),
            json!({"text": "so"}),
            json!({"type": "text", "text": "so"}),
            json!([{"text": "s"}, {"text": null}, {"text": "o"}]),
            json!([{"audio": "x"}, {"text": "so"}]),
        ] {
            for choice in [
                json!({"message": {"content": content}}),
                json!({"message": null, "delta": {"content": content}}),
            ] {
                assert_eq!(text(choice).as_deref(), Some("so"), "{content}");
            }
        }
    }

    #[test]
    fn a_text_is_read_where_a_content_would_be() {
        for choice in [
            json!({"message": {"text": "so"}}),
            json!({"text": "so"}),
            json!({"message": {"content": null}, "text": "so"}),
            json!({"message": {"content": [{"text": "so"}], "text": "else"}}),
        ] {
            assert_eq!(text(choice.clone()).as_deref(), Some("so"), "{choice}");
        }
    }

    #[test]
    fn nothing_is_a_silence_and_a_riddle_is_none() {
        let of = |content: &Value| text(json!({"message": {"content": content}}));
        for nothing in [
            json!([]),
            json!(""),
            json!(null),
            json!({}),
            json!([null]),
            json!([""]),
            json!([{"text": null}]),
        ] {
            assert_eq!(of(&nothing).as_deref(), Some(""), "{nothing}");
        }
        assert_eq!(text(json!({"finish_reason": "stop"})).as_deref(), Some(""));
        for strange in [
            json!(7),
            json!([7]),
            json!([["so"]]),
            json!({"parts": ["so"]}),
            json!([{"words": "so"}]),
            json!([{"text": {"value": "so"}}]),
        ] {
            assert_eq!(of(&strange), None, "{strange}");
        }
    }

    #[test]
    fn an_end_is_one_in_any_case() {
        let end = |reason: Value| {
            Choice::of(&json!({"output": {"choices": [{"finish_reason": reason}]}}))
                .end()
                .map(|end| end.truncated)
        };
        assert_eq!([json!(null), json!("null"), json!("NULL"), json!(7)].map(end), [None; 4]);
        assert_eq!(["stop", "STOP"].map(|reason| end(reason.into())), [Some(false); 2]);
        assert_eq!(["length", "Length"].map(|reason| end(reason.into())), [Some(true); 2]);
    }

    #[test]
    fn what_is_annotated_last_counts() {
        let annotations = json!([{"language": "de", "emotion": ""}, {"language": "en", "emotion": "happy"}, {"language": ""}]);
        let answer = json!({"output": {"choices": [{"message": {"annotations": annotations}}]}});
        let choice = Choice::of(&answer);
        assert_eq!(choice.annotation("language").as_deref(), Some("en"));
        assert_eq!(choice.annotation("emotion").as_deref(), Some("happy"));
        assert_eq!(choice.annotation("mood"), None);
    }
}
