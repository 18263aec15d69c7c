use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::{info, info_span};
use tracing_subscriber::fmt::format::JsonFields;

use super::{Line, filter, readable};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_carries_the_fields_of_its_spans_flat() {
    let page = Page::default();
    let writer = page.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter("info").unwrap())
        .fmt_fields(JsonFields::new())
        .event_format(Line::Json)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let _bare = info_span!("bare").entered();
        let _source = info_span!("source", source = "calls").entered();
        let _job = info_span!("job", job = %"0192", attempt = 1).entered();
        info!(attempt = 2, ratio = 0.5, held = true, "service busy, \"retrying\"");
    });
    let written = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    assert_eq!(written.matches('\n').count(), 1);
    let line: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(line["source"], "calls");
    assert_eq!(line["job"], "0192");
    assert_eq!(line["attempt"], 2, "the event's own field wins");
    assert_eq!(line["ratio"], 0.5);
    assert_eq!(line["held"], true);
    assert_eq!(line["level"], "info");
    assert_eq!(line["message"], "service busy, \"retrying\"");
    line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn a_person_reads_each_field_once() {
    let page = Page::default();
    let writer = page.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .fmt_fields(JsonFields::new())
        .event_format(Line::Human)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let _source = info_span!("source", source = "calls", path = "/srv").entered();
        let _job = info_span!("job", job = %"0192", source = "calls", lane = "flash").entered();
        info!(job = %"0192", failed = false, "job ended");
        info!("recognized");
    });
    let written = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let words: Vec<&str> = written.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(
        words,
        [
            "job ended failed=false job=0192 lane=flash path=/srv source=calls",
            "recognized job=0192 lane=flash path=/srv source=calls"
        ]
    );
    assert!(written.contains("Z  INFO harkd::telemetry::logging::tests: job ended"), "{written}");
}

#[test]
fn text_from_outside_commands_no_terminal_and_begins_no_line() {
    const NAME: &str =
        "a\x1b]0;owned\x07\n2026 INFO all is well\u{9b}2J\u{202e}vaw.\u{2066}\u{200b}\u{2028}\u{feff}";
    let written = |make: &dyn Fn(Page) -> tracing::Dispatch| {
        let page = Page::default();
        tracing::dispatcher::with_default(&make(page.clone()), || {
            let _source = info_span!("source", source = NAME, folder = %NAME).entered();
            info!(name = NAME, path = %NAME, debugged = ?NAME, "{NAME}");
        });
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    };
    let human = written(&|page| {
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || page.clone());
        tracing::Dispatch::new(lines.fmt_fields(JsonFields::new()).event_format(Line::Human).finish())
    });
    let json = written(&|page| {
        let lines = tracing_subscriber::fmt().with_writer(move || page.clone());
        tracing::Dispatch::new(lines.fmt_fields(JsonFields::new()).event_format(Line::Json).finish())
    });
    for written in [&human, &json] {
        let line = written.strip_suffix('\n').unwrap();
        assert_eq!(readable(line), line);
    }
    assert_eq!(human.matches("\\u{1b}]0;owned").count(), 6, "{human}");
    let line: Value = serde_json::from_str(&json).unwrap();
    for field in ["message", "name", "path", "source", "folder"] {
        assert_eq!(line[field], NAME);
    }
}

#[test]
fn libraries_are_capped_unless_they_are_named() {
    let directives = |level: &str| {
        let text = filter(level).unwrap().to_string();
        text.split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |level: &str, directive: &str| directives(level).iter().any(|other| other == directive);
    assert!(has("trace", "trace") && has("trace", "reqwest=info") && has("trace", "hyper=info"));
    assert!(has("info", "async_nats=warn") && has("info,async_nats=debug", "async_nats=debug"));
    assert!(has("warn", "reqwest=warn"), "a cap never says more than the operator asked for");
    assert!(has("debug,reqwest=trace", "reqwest=trace") && !has("debug,reqwest=trace", "reqwest=info"));
    assert!(has("info,harkd::recognize=debug", "harkd::recognize=debug"));
}

#[test]
fn a_word_that_is_no_level_is_a_mistake() {
    for level in ["", " ", "inof", "info,verbose", "harkd=loud", "harkd=info=debug"] {
        assert!(filter(level).is_err(), "{level:?}");
    }
    for level in ["info", "INFO", "off", "info, harkd=debug", "harkd[job]=trace"] {
        assert!(filter(level).is_ok(), "{level:?}");
    }
}
