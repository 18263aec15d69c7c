//! The files that the plugin hands over, through its exported functions.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use hark_sdk::event::{Blame, Body, Event, Fault, Segment, Timing, TranscriptFinal, Word};
use hark_sdk::testing::{Bench, CallOutput, transcript};
use serde_json::{Value, json};
use subtitles::Subtitles;

fn final_of(segments: Vec<Segment>) -> Event {
    let mut event = transcript(&[]);
    event.recording.duration_ms = segments.iter().filter_map(|segment| segment.end_ms).max();
    change(&mut event, |fields| {
        fields.text = segments.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(" ");
        fields.segments = Some(segments);
    });
    event
}

fn change(event: &mut Event, how: impl FnOnce(&mut TranscriptFinal)) {
    let Body::TranscriptFinal(fields) = &mut event.body else { panic!("{event:?}") };
    how(fields);
}

fn segment(role: &str, begin_ms: u64, end_ms: u64, text: &str) -> Segment {
    Segment {
        channel: u32::from(role == "customer"),
        role: (!role.is_empty()).then(|| role.to_owned()),
        begin_ms: Some(begin_ms),
        end_ms: Some(end_ms),
        timing: Timing::Service,
        text: text.to_owned(),
        ..Segment::default()
    }
}

/// A segment whose words are said one after the other, 250 ms each, with a pause of this many milliseconds behind those that end with `|`.
fn spoken(text: &str, pause_ms: u64) -> Segment {
    let mut words = Vec::new();
    let mut at = 1_000;
    for word in text.split(' ') {
        let (text, pause) = word.strip_suffix('|').map_or((word, 0), |word| (word, pause_ms));
        words.push(Word { begin_ms: at, end_ms: at + 250, text: text.to_owned() });
        at += 250 + pause;
    }
    let segment = segment("", 1_000, at, &text.replace('|', ""));
    Segment { words: Some(words), ..segment }
}

fn hand(config: Value, event: &Event) -> CallOutput {
    let heard = Bench::<Subtitles>::create(&config.to_string()).unwrap().hand(event).unwrap();
    assert!(heard.refused.is_empty(), "{:?}", heard.refused);
    heard
}

fn file(config: Value, event: &Event, suffix: &str) -> String {
    let heard = hand(config, event);
    let file = heard.files.iter().find(|file| file.suffix == suffix);
    String::from_utf8(file.unwrap_or_else(|| panic!("no {suffix} in {heard:?}")).bytes.clone()).unwrap()
}

fn srt(config: Value, segments: Vec<Segment>) -> String {
    file(config, &final_of(segments), ".srt").replace("\r\n", "\n")
}

#[test]
fn a_call_has_names_where_the_speaker_changes() {
    let call = vec![
        segment("agent", 0, 3_000, "Good morning, how may I help you?"),
        segment(
            "customer",
            3_500,
            9_500,
            "Hello. I would like to cancel my contract, because I am moving abroad in March.",
        ),
        segment("customer", 10_000, 12_000, "Is that possible?"),
        segment("agent", 11_500, 14_000, "Of course it is."),
    ];
    let expected = "\
1
00:00:00,000 --> 00:00:03,000
agent: Good morning, how may I help you?

2
00:00:03,500 --> 00:00:06,689
customer: Hello. I would like
to cancel my contract,

3
00:00:06,765 --> 00:00:09,500
because I am moving abroad in March.

4
00:00:10,000 --> 00:00:12,000
customer: Is that possible?

5
00:00:11,500 --> 00:00:14,000
agent: Of course it is.

";
    assert_eq!(srt(json!({}), call.clone()), expected);
    let txt = "agent: Good morning, how may I help you?\n\
               customer: Hello. I would like to cancel my contract, because I am moving abroad in March. Is that possible?\n\
               agent: Of course it is.\n";
    assert_eq!(file(json!({}), &final_of(call.clone()), ".txt"), txt);
    assert!(!srt(json!({ "speakers": false }), call.clone()).contains("agent"));
    assert!(!file(json!({ "speakers": false }), &final_of(call), ".txt").contains("agent"));
}

/// The texts of the cues, `/` between lines.
fn shown(end_ms: u64, text: &str) -> Vec<String> {
    let file = srt(json!({}), vec![segment("", 0, end_ms, text)]);
    file.trim_end()
        .split("\n\n")
        .map(|cue| cue.splitn(3, '\n').last().unwrap().replace('\n', " / "))
        .collect()
}

#[test]
fn chinese_is_cut_at_its_punctuation_and_between_its_words() {
    let text = "您好，欢迎致电客户服务中心，请问有什么可以帮您？我想取消上个月办理的宽带套餐，因为我下个星期就要搬到另外一个城市去居住了。";
    let expected = [
        "您好，欢迎致电客户服务中心， / 请问有什么可以帮您？",
        "我想取消上个月办理的宽带套餐，因为我 / 下个星期就要搬到另外一个城市去居住了。",
    ];
    assert_eq!(shown(14_500, text), expected);
}

#[test]
fn japanese_is_cut_at_its_punctuation_and_between_its_phrases() {
    let text = "お電話ありがとうございます。先日注文した商品がまだ届いていないのですが、いつごろ発送される予定なのか教えていただけますでしょうか。";
    let expected = [
        "お電話ありがとうございます。",
        "先日注文した商品がまだ / 届いていないのですが、",
        "いつごろ発送される予定なのか / 教えていただけますでしょうか。",
    ];
    assert_eq!(shown(14_500, text), expected);
}

#[test]
fn german_is_cut_at_its_clauses() {
    let text = "Guten Tag, mein Name ist Müller. Ich möchte meinen Vertrag z. B. zum Monatsende kündigen, \
                weil die Geschwindigkeitsbegrenzung meines Internetanschlusses unerträglich ist.";
    let expected = [
        "Guten Tag, mein Name ist Müller.",
        "Ich möchte meinen Vertrag / z. B. zum Monatsende kündigen,",
        "weil die Geschwindigkeitsbegrenzung meines / Internetanschlusses unerträglich ist.",
    ];
    assert_eq!(shown(11_000, text), expected);
}

#[test]
fn a_cue_ends_at_a_pause_between_words() {
    let expected = "\
1
00:00:01,000 --> 00:00:03,000
I called you last week about the invoice

2
00:00:06,000 --> 00:00:07,250
and nobody has answered yet

";
    let segment = spoken("I called you last week about the invoice| and nobody has answered yet", 3_000);
    assert_eq!(srt(json!({}), vec![segment]), expected);
}

#[test]
fn a_short_word_stays_until_it_can_be_read_if_there_is_room() {
    let yes = |next_ms| {
        srt(
            json!({}),
            vec![segment("", 0, 300, "Yes."), segment("", next_ms, 5_000, "And now the long rest.")],
        )
    };
    assert!(yes(4_000).contains("00:00:00,000 --> 00:00:01,000\n"));
    assert!(yes(600).contains("00:00:00,000 --> 00:00:00,600\n"));
    assert!(
        srt(json!({}), vec![segment("", 0, 300, "Yes.")]).contains("--> 00:00:00,300\n"),
        "no longer than the recording"
    );
}

#[test]
fn what_was_not_heard_has_no_cue() {
    let fault =
        Fault { code: "Timeout".into(), blame: Blame::Service, message: String::new(), attempts: None };
    let call = vec![
        segment("agent", 0, 1_000, " \u{0}\n"),
        Segment { error: Some(fault), ..segment("agent", 1_000, 2_000, "") },
        segment("agent", 2_000, 4_000, "Here we are."),
    ];
    assert_eq!(srt(json!({}), call.clone()), "1\n00:00:02,000 --> 00:00:04,000\nagent: Here we are.\n\n");
    let json: Value =
        serde_json::from_str(&file(json!({ "formats": ["json"] }), &final_of(call), ".transcript.json"))
            .unwrap();
    assert_eq!(json["segments"][1]["error"], "Timeout");
}

#[test]
fn a_speechless_recording_has_files_without_text() {
    let heard = hand(json!({ "formats": ["srt", "vtt", "txt", "json"] }), &final_of(vec![]));
    let files: Vec<_> = heard.files.iter().map(|file| (file.suffix.as_str(), file.bytes.len())).collect();
    assert_eq!(files[..3], [(".srt", 0), (".vtt", 7), (".txt", 0)]);
    assert!(heard.emitted.is_empty());
}

#[test]
fn without_times_there_are_no_subtitles_and_the_plugin_says_so() {
    let untimed =
        |text| Segment { begin_ms: None, end_ms: None, timing: Timing::None, ..segment("", 0, 0, text) };
    let formats = json!({ "formats": ["srt", "vtt", "txt", "json"] });
    let said = |heard: &CallOutput| match &heard.emitted[..] {
        [Body::Plugin(event)] => event.data.clone(),
        other => panic!("{other:?}"),
    };
    let suffixes =
        |heard: &CallOutput| heard.files.iter().map(|file| file.suffix.clone()).collect::<Vec<_>>();

    let heard = hand(formats.clone(), &final_of(vec![untimed("one"), untimed("two")]));
    assert_eq!(suffixes(&heard), [".txt", ".transcript.json"]);
    assert_eq!(said(&heard), json!({ "segments_without_times": 2, "left_out": ["srt", "vtt"] }));

    let heard = hand(formats.clone(), &final_of(vec![untimed("one"), segment("", 0, 1_000, "two")]));
    assert_eq!(suffixes(&heard), [".srt", ".vtt", ".txt", ".transcript.json"]);
    assert_eq!(said(&heard), json!({ "segments_without_times": 1, "left_out": [] }));

    let mut event = transcript(&["all in one"]);
    change(&mut event, |fields| fields.segments = None);
    let heard = hand(formats, &event);
    assert_eq!(String::from_utf8_lossy(&heard.files[0].bytes), "all in one\n");
    assert_eq!(said(&heard), json!({ "segments_without_times": 1, "left_out": ["srt", "vtt"] }));
    assert!(hand(json!({ "formats": ["txt"] }), &event).emitted.is_empty());
}

#[test]
fn text_and_json_follow_the_speakers() {
    let of = |speaker: &str, segment| Segment { speaker: Some(speaker.to_owned()), ..segment };
    let call = vec![
        of("0", segment("", 0, 1_000, "你好。")),
        of("0", segment("", 1_000, 2_000, "我是王先生。")),
        of(
            "1",
            Segment {
                words: Some(vec![Word { begin_ms: 2_000, end_ms: 2_500, text: "Hello".into() }]),
                ..segment("", 2_000, 3_000, "Hello")
            },
        ),
    ];
    let event = final_of(call);
    assert_eq!(file(json!({}), &event, ".txt"), "Speaker 0: 你好。我是王先生。\nSpeaker 1: Hello\n");
    let json: Value =
        serde_json::from_str(&file(json!({ "formats": ["json"] }), &event, ".transcript.json")).unwrap();
    let expected = json!({
        "job": event.job, "recording": { "name": "call.wav", "sha256": null, "duration_ms": 3_000 },
        "engine": "flash", "model": "qwen3-asr-flash", "language": "en", "text": "你好。 我是王先生。 Hello",
        "segments": [
            { "channel": 0, "speaker": "0", "begin_ms": 0, "end_ms": 1_000, "language": null, "text": "你好。" },
            { "channel": 0, "speaker": "0", "begin_ms": 1_000, "end_ms": 2_000, "language": null, "text": "我是王先生。" },
            { "channel": 0, "speaker": "1", "begin_ms": 2_000, "end_ms": 3_000, "language": null, "text": "Hello",
              "words": [{ "begin_ms": 2_000, "end_ms": 2_500, "text": "Hello" }] },
        ],
    });
    assert_eq!(json, expected);
}

#[test]
fn the_example_of_the_manual_is_a_valid_config() {
    let manual = include_str!("../../../docs/plugins/subtitles.md");
    let example = manual.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let config: Value = toml::from_str(example).unwrap();
    let config = &config["plugin"][0]["config"];
    let bench = Bench::<Subtitles>::create(&config.to_string()).unwrap();
    assert!(bench.created().is_empty(), "{:?}", bench.created());
}

#[test]
fn mistakes_of_the_config_name_the_key() {
    for (config, words) in [
        (json!({ "format": ["srt"] }), "format: unknown field"),
        (
            json!({ "formats": ["srt", "ass"] }),
            "formats.1: unknown variant `ass`, expected one of `srt`, `vtt`, `txt`, `json`",
        ),
        (json!({ "formats": [] }), "formats: is empty"),
        (json!({ "max_chars": 4 }), "max_chars: 4 is not possible; use 10 to 200"),
        (json!({ "max_lines": 0 }), "max_lines: 0 is not possible; use 1 to 5"),
        (json!({ "max_cps": -1 }), "max_cps: invalid value"),
        (json!({ "speakers": "yes" }), "speakers: invalid type"),
    ] {
        let mistake = Bench::<Subtitles>::create(&config.to_string()).err().unwrap();
        assert!(mistake.starts_with(words), "{config}: {mistake}");
    }
}
