use serde_json::json;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

#[test]
fn an_audio_content_type_makes_the_payload_audio_whatever_it_is() {
    let headers =
        headers(&[("Content-Type", "audio/wav"), ("Hark-Name", "a.wav"), ("Hark-Meta-Agent-Id", "7")]);
    let (options, input) = read(Some(&headers), b"{\"url\": \"x\"}");
    assert_eq!(input, Input::Audio);
    assert_eq!(options.name.as_deref(), Some("a.wav"));
    assert_eq!(options.metadata["agent_id"], "7");
}

#[test]
fn headers_are_read_in_any_case_and_the_message_lies_over_them() {
    // nats-py sends the names as they are written.
    let headers = headers(&[
        ("hark-name", "a.wav"),
        ("HARK-LANGUAGE", "de"),
        ("hark-meta-agent-id", "7"),
        ("Hark-Meta-Team", "sales"),
        ("nats-msg-id", "1"),
    ]);
    let message = br#"{"url": "https://h/a", "metadata": {"team": "support", "n": 1}}"#;
    let (options, _) = read(Some(&headers), message);
    assert_eq!((options.name.as_deref(), options.language.as_deref()), (Some("a.wav"), Some("de")));
    assert_eq!(Value::from(options.metadata), json!({"agent_id": "7", "team": "support", "n": 1}));
    assert_eq!(options.message_id.as_deref(), Some("1"));
}

#[test]
fn without_a_content_type_a_json_object_is_a_reference_and_anything_else_is_audio() {
    let (_, input) = read(None, br#"{"url": "https://host/a.wav"}"#);
    assert_eq!(input, Input::Url("https://host/a.wav".into()));
    for audio in [&b"RIFF...."[..], b"[1, 2]", b"7", b""] {
        assert_eq!(read(None, audio).1, Input::Audio);
    }
}

#[test]
fn a_reference_is_read_whatever_its_sender_calls_json() {
    let body = r#"{"url": "https://h/a", "name": "call"}"#;
    let event =
        format!(r#"{{"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "data": {body}}}"#);
    for (content_type, payload) in [
        (None, format!("\u{feff}{body}")),
        (Some("application/json"), format!("\u{feff}{body}")),
        (Some("text/json"), body.to_owned()),
        (Some("Application/JSON; charset=UTF-8"), body.to_owned()),
        (Some("application/vnd.acme.call+json"), body.to_owned()),
        (Some("application/cloudevents+json; charset=utf-8"), event.clone()),
        (Some("application/cloudevents+json"), body.to_owned()),
        (None, body.replace('{', r#"{"data": 7, "#)),
        (Some("text/plain"), body.to_owned()),
        (Some("application/x-www-form-urlencoded"), body.to_owned()),
        (Some(""), body.to_owned()),
    ] {
        let headers = content_type.map(|value| headers(&[("Content-Type", value)]));
        let (options, input) = read(headers.as_ref(), payload.as_bytes());
        assert_eq!(input, Input::Url("https://h/a".into()), "{content_type:?} {payload}");
        assert_eq!(options.name.as_deref(), Some("call"));
    }
    for content_type in ["application/octet-stream", "text/plain", "video/mp4"] {
        assert_eq!(read(Some(&headers(&[("Content-Type", content_type)])), b"RIFF").1, Input::Audio);
    }
    let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let json = headers(&[("Content-Type", "application/json")]);
    let (_, Input::Bad(fault)) = read(Some(&json), &utf16) else { panic!("it was taken") };
    assert!(
        fault.message.contains("byte order mark") && fault.message.contains("UTF-8"),
        "{}",
        fault.message
    );
}

#[test]
fn a_reference_larger_than_all_that_it_may_say_is_refused_unread() {
    let numbers = "0,".repeat(REFERENCE_LIMIT / 2);
    let large = format!(r#" {{"url": "https://h/a", "metadata": {{"n": [{numbers}0]}}}}"#);
    for headers in [Some(&headers(&[("Content-Type", "application/json")])), None] {
        let (options, Input::Bad(fault)) = read(headers, large.as_bytes()) else { panic!("it was taken") };
        assert!(fault.message.contains("at most 1048576"), "{}", fault.message);
        assert_eq!(options, MessageOptions::default());
    }
    assert_eq!(read(None, &large.as_bytes()[..REFERENCE_LIMIT]).1, Input::Audio, "half of one is none");
}

#[test]
fn an_empty_message_id_is_none() {
    let (options, _) = read(Some(&headers(&[("Nats-Msg-Id", " ")])), b"RIFF");
    assert_eq!(options.message_id, None, "else all such messages would be one job");
}

#[test]
fn a_reference_carries_what_the_sender_says() {
    let headers = headers(&[("content-type", "application/json; charset=utf-8"), ("Hark-Language", "de")]);
    let body = br#"{"url": "https://h/a", "name": "call", "metadata": {"n": 1}, "language": "en", "context": "Hark", "route": "fast"}"#;
    let (options, input) = read(Some(&headers), body);
    assert_eq!(input, Input::Url("https://h/a".into()));
    assert_eq!((options.name.as_deref(), options.language.as_deref()), (Some("call"), Some("en")));
    assert_eq!((options.context.as_deref(), options.route.as_deref()), (Some("Hark"), Some("fast")));
    assert_eq!(options.metadata["n"], 1);
}

#[test]
fn a_language_is_the_services_code_or_bad_input() {
    let language = |written: &str| read(Some(&headers(&[("Hark-Language", written)])), b"RIFF");
    for (written, code) in [("en-US", Some("en")), ("zh-CN", Some("zh")), ("auto", Some("")), ("", None)] {
        let (options, input) = language(written);
        assert_eq!((options.language.as_deref(), input), (code, Input::Audio), "{written}");
    }
    let (options, input) = language("klingon");
    assert_eq!(options.language, None);
    let Input::Bad(fault) = input else { panic!("it was taken") };
    assert_eq!((fault.code.as_str(), fault.blame), ("UnknownLanguage", Blame::Audio));
    assert!(fault.message.contains("klingon") && fault.message.contains("yue"), "{}", fault.message);
}

#[test]
fn bad_references_are_named_without_their_content() {
    let json = headers(&[("Content-Type", "application/json")]);
    for (payload, code) in [
        (&b"{\"url\": secret"[..], "BadReference"),
        (b"{}", "BadReference"),
        (b"{\"url\": 7}", "BadReference"),
        (b"{\"object\": {\"bucket\": \"b\"}}", "BadReference"),
        (b"{\"object\": \"b\"}", "BadReference"),
        (
            b"{\"url\": \"https://secret/a\", \"object\": {\"bucket\": \"b\", \"name\": \"n\"}}",
            "BadReference",
        ),
    ] {
        let (_, Input::Bad(fault)) = read(Some(&json), payload) else { panic!("{payload:?} was taken") };
        assert_eq!(fault.code, code);
        assert!(!fault.message.contains("secret"));
    }
}

#[test]
fn metadata_that_could_not_be_read_again_is_refused_and_not_carried() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let hidden = format!(r#"{{"$serde_json::private::RawValue": "{}"}}"#, nested(127));
    for metadata in
        [format!(r#"{{"k": {}}}"#, nested(100)), format!(r#"{{"k": {hidden}}}"#), hidden, nested(1)]
    {
        let message = format!(r#"{{"url": "https://h/a", "metadata": {metadata}}}"#);
        let (options, input) = read(None, message.as_bytes());
        assert!(matches!(input, Input::Bad(fault) if fault.code == "BadReference"), "{metadata}");
        assert!(options.metadata.is_empty());
    }
    // Nor is the daemon's stack at the mercy of what is not even kept.
    let message = format!(r#"{{"url": "https://h/a", "object": {0}, "more": {0}}}"#, nested(200_000));
    assert!(matches!(read(None, message.as_bytes()), (_, Input::Bad(_))));
}

#[test]
fn what_would_not_fit_into_an_event_is_refused_and_not_carried() {
    for (field, value, code) in [
        ("metadata", json!({"k": "x".repeat(metadata::LARGEST)}), "MetadataTooLarge"),
        ("name", json!("n".repeat(NAME_LIMIT + 1)), "NameTooLong"),
        ("context", json!("c".repeat(CONTEXT_LIMIT + 1)), "ContextTooLong"),
        ("language", json!("l".repeat(LANGUAGE_LIMIT + 1)), "LanguageTooLong"),
        ("url", json!(format!("https://h/{}", "u".repeat(URL_LIMIT))), "BadReference"),
    ] {
        let mut message = json!({"url": "https://h/a", "name": "a", "metadata": {}});
        message[field] = value;
        let (options, input) = read(None, message.to_string().as_bytes());
        let Input::Bad(fault) = input else { panic!("{field} was taken") };
        assert_eq!(fault.code, code);
        assert!(options.metadata.is_empty() && options.name.unwrap_or_default().len() < 2);
    }
    let id = "\u{1}".repeat(MESSAGE_ID_LIMIT + 1);
    let (options, input) = read(Some(&headers(&[("Nats-Msg-Id", &format!("a{id}"))])), b"RIFF");
    assert_eq!(options.message_id, None);
    assert!(matches!(input, Input::Bad(fault) if fault.code == "MessageIdTooLong"));
    // Bad for another reason, and too large all the same: its answer has to fit too.
    let (options, _) = read(None, json!({"name": "n".repeat(NAME_LIMIT + 1)}).to_string().as_bytes());
    assert_eq!(options.name, None);
}
