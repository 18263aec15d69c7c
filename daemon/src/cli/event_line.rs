//! How an event is shown in a terminal.

use hark_sdk::event::{
    Alert, AlertState, Annotation, AnnotationSpeech, Bill, Body, ChannelSpeech, Event, Fault, Kind, Severity,
    TranscriptFinal, TranscriptSegment,
};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::screen::{Span, Style, column};
use crate::counted::counted;

/// The longest label is `submitted`.
const LABEL_COLUMNS: usize = 9;
/// The end of a job's id, which tells jobs with one name apart.
const ID_COLUMNS: usize = 4;
/// The most characters of a final: a longer text would push all other lines out of sight; `--json` prints all of it.
const LONGEST_TEXT: usize = 600;

/// The columns before an event's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    has_time: bool,
    /// Columns of the recording's name; most names have at most 18 characters.
    name_columns: usize,
    label_columns: usize,
}

impl Layout {
    /// The layout for a terminal of this many columns: the text has at least two fifths of them.
    pub fn of(columns: usize) -> Layout {
        let (has_time, name_columns, label_columns) = match columns {
            0..30 => (false, 0, 0),
            30..60 => (false, 8, 0),
            60..80 => (true, 10, LABEL_COLUMNS),
            80.. => (true, 18, LABEL_COLUMNS),
        };
        Layout { has_time, name_columns, label_columns }
    }
}

/// The line of an event; an event of a kind that this version does not know is shown in its raw form.
pub fn line(kind: &str, body: &Value, zone: &TimeZone, layout: Layout) -> Vec<Span> {
    match kind.parse::<Kind>().ok().and_then(|kind| Event::from_value(&kind, body.clone()).ok()) {
        Some(event) => line_of(&event, zone, layout),
        None => vec![Span::new(Style::DIM, format!("{kind} {body}"))],
    }
}

/// The line of an event that is read already.
pub fn line_of(event: &Event, zone: &TimeZone, layout: Layout) -> Vec<Span> {
    let name = event.recording.name.as_deref().unwrap_or(&event.recording.uri);
    let mut line = Vec::new();
    if layout.has_time {
        let time = event.time.to_zoned(zone.clone()).strftime("%H:%M:%S ");
        line.push(Span::new(Style::DIM, time.to_string()));
    }
    if layout.name_columns > 0 {
        let name = column(&Span::new(Style::PLAIN, name).text, layout.name_columns);
        line.push(Span::new(Style::PLAIN, format!("{name} ")));
    }
    let job = event.job.simple().to_string();
    line.push(Span::new(Style::DIM, format!("{} ", &job[job.len() - ID_COLUMNS..])));
    line.extend(details(event, layout));
    line
}

fn details(event: &Event, layout: Layout) -> Vec<Span> {
    let label =
        |label_style, text: &str, style, words: String| label(layout, label_style, text, style, words);
    match &event.body {
        Body::JobAccepted(fields) => {
            let recording = &event.recording;
            let mut words = vec![format!("from {}", event.source)];
            words.extend(recording.duration_ms.map(|ms| seconds(ms as f64 / 1000.0)));
            words.extend(recording.format.clone());
            words.push(format!("job {}", event.job));
            words.extend(fields.warnings.iter().map(|warning| warning.message.clone()));
            label(Style::DIM, "accepted", Style::DIM, words.join(", "))
        }
        Body::JobSubmitted(fields) => {
            let task = fields.task_id.as_ref().map_or(String::new(), |task| format!(", task {task}"));
            let words = format!(
                "{} {}{task}{}",
                fields.engine,
                fields.model,
                doubt(fields.possible_duplicate_charge)
            );
            label(Style::DIM, "submitted", Style::DIM, words)
        }
        Body::JobRetrying(fields) => {
            let again = seconds(fields.retry_in_ms as f64 / 1000.0);
            let words = format!("try {}: {}; again in {again}", fields.attempt, fault(&fields.error));
            label(Style::YELLOW, "retrying", Style::YELLOW, words)
        }
        Body::TranscriptPartial(fields) => label(
            Style::CYAN,
            "…",
            Style::PLAIN,
            format!("{}{}", speaker(fields.role.as_deref()), fields.text),
        ),
        Body::TranscriptSegment(fields) => label(Style::CYAN, "segment", Style::PLAIN, segment(fields)),
        Body::TranscriptFinal(fields) => transcript(fields, layout),
        Body::AnnotationLanguage(fields) => label(Style::DIM, "language", Style::PLAIN, annotation(fields)),
        Body::AnnotationEmotion(fields) => label(Style::DIM, "emotion", Style::PLAIN, annotation(fields)),
        Body::AnnotationSpeech(fields) => label(Style::DIM, "speech", Style::PLAIN, speech(fields)),
        Body::AlertRaised(fields) => alert(fields, layout),
        Body::AlertRetracted(fields) => label(
            Style::DIM,
            "retracted",
            Style::DIM,
            format!("{}: {:?} was not said", fields.rule, fields.quote),
        ),
        Body::Plugin(fields) => label(Style::CYAN, &fields.plugin, Style::PLAIN, fields.data.to_string()),
        Body::JobCompleted(fields) => label(Style::GREEN, "completed", Style::DIM, bill(&fields.bill)),
        Body::JobFailed(fields) => label(Style::RED, "FAILED", Style::RED, fault(&fields.error)),
    }
}

fn label(layout: Layout, label_style: Style, text: &str, style: Style, words: String) -> Vec<Span> {
    let text = Span::new(label_style, text).text;
    let text = if layout.label_columns == 0 { text } else { column(&text, layout.label_columns) };
    vec![Span::new(label_style, text), Span::new(Style::PLAIN, " "), Span::new(style, words)]
}

fn transcript(fields: &TranscriptFinal, layout: Layout) -> Vec<Span> {
    let about: Vec<&str> =
        [&fields.language, &fields.emotion].into_iter().flatten().map(String::as_str).collect();
    let text = match fields.text.char_indices().nth(LONGEST_TEXT) {
        None if fields.text.is_empty() => "(nothing was said)".to_owned(),
        None => fields.text.clone(),
        Some((end, _)) => {
            let more = counted(fields.text[end..].chars().count(), "character");
            format!("{}… (and {more} more)", &fields.text[..end])
        }
    };
    let mut line = label(layout, Style::BOLD, "final", Style::BOLD, text);
    if !about.is_empty() {
        line.push(Span::new(Style::DIM, format!(" ({})", about.join(", "))));
    }
    if fields.truncated {
        line.push(Span::new(Style::YELLOW, " (the text is cut)"));
    }
    line
}

fn segment(fields: &TranscriptSegment) -> String {
    let texts: Vec<&str> = fields.segments.iter().map(|segment| segment.text.as_str()).collect();
    let text = if texts.is_empty() { "(nothing was said)".to_owned() } else { texts.join(" ") };
    let of = fields.pieces.map_or(String::new(), |pieces| format!("/{pieces}"));
    format!("{}{of}{}: {text}", fields.piece, place(None, Some(fields.begin_ms), Some(fields.end_ms)))
}

fn alert(fields: &Alert, layout: Layout) -> Vec<Span> {
    let (style, word) = match fields.severity {
        Severity::Info => (Style::CYAN, "INFO"),
        Severity::Warning => (Style::BLACK_ON_YELLOW, "WARNING"),
        Severity::Critical => (Style::WHITE_ON_RED, "CRITICAL"),
    };
    let tentative = if fields.state == AlertState::Tentative { ", tentative" } else { "" };
    let place = place(fields.role.as_deref(), fields.begin_ms, fields.end_ms);
    let mut line = label(layout, style, word, Style::BOLD, format!("{}: {:?}", fields.rule, fields.quote));
    line.push(Span::new(Style::DIM, format!(" ({}{tentative}){place}", fields.plugin)));
    line
}

fn annotation(fields: &Annotation) -> String {
    format!("{}{}", fields.value, place(fields.role.as_deref(), fields.begin_ms, fields.end_ms))
}

fn speech(fields: &AnnotationSpeech) -> String {
    let channel = |channel: &ChannelSpeech| {
        let name = channel.role.clone().unwrap_or_else(|| format!("channel {}", channel.channel));
        match channel.doubles {
            Some(other) => format!("{name} repeats channel {other}"),
            None => format!("{name} {}", seconds(channel.speech_ms as f64 / 1000.0)),
        }
    };
    let channels: Vec<String> = fields.channels.iter().map(channel).collect();
    format!("{}, silence {}", channels.join(", "), seconds(fields.silence_ms as f64 / 1000.0))
}

fn place(role: Option<&str>, begin_ms: Option<u64>, end_ms: Option<u64>) -> String {
    let mut words = role.map_or(String::new(), |role| format!(" {role}"));
    if let (Some(begin), Some(end)) = (begin_ms, end_ms) {
        words.push_str(&format!(" {:.1}–{:.1} s", begin as f64 / 1000.0, end as f64 / 1000.0));
    }
    words
}

fn speaker(role: Option<&str>) -> String {
    role.map_or(String::new(), |role| format!("{role}: "))
}

fn fault(fault: &Fault) -> String {
    let attempts = match fault.attempts {
        None | Some(0) => String::new(),
        Some(1) => "; 1 try".to_owned(),
        Some(count) => format!("; {count} tries"),
    };
    format!("{} ({}): {}{attempts}", fault.code, fault.blame.as_str(), fault.message)
}

fn bill(bill: &Bill) -> String {
    let saved = bill.saved_seconds.map_or(String::new(), |saved| format!("{} saved, ", seconds(saved)));
    let audio = bill.audio_seconds.map_or(String::new(), |audio| format!("{} of audio, ", seconds(audio)));
    format!(
        "{audio}{} s billed, {:.6} USD, {saved}took {}{}",
        bill.billed_seconds,
        bill.cost_usd,
        seconds(bill.elapsed_ms as f64 / 1000.0),
        doubt(bill.possible_duplicate_charge)
    )
}

fn doubt(possible_duplicate_charge: bool) -> &'static str {
    if possible_duplicate_charge { ", may be charged twice" } else { "" }
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::screen::fit;

    fn shown(kind: &str, fields: Value) -> String {
        line(kind, &body(&fields), &TimeZone::UTC, Layout::of(120))
            .iter()
            .map(|span| span.text.as_str())
            .collect()
    }

    fn body(fields: &Value) -> Value {
        let mut body = json!({
            "job": "01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c", "source": "calls", "sequence": 1, "time": "2026-11-23T08:15:02Z",
            "recording": {"uri": "file:///srv/calls/a.wav", "name": "a.wav", "sha256": null, "bytes": 1, "format": "wav",
                          "duration_ms": 3200, "channels": 1},
            "metadata": {},
        });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    }

    #[test]
    fn an_event_is_a_line() {
        let accepted = shown("job.accepted", json!({"route": "default"}));
        assert_eq!(
            accepted,
            "08:15:02 a.wav              1b2c accepted  from calls, 3.2 s, wav, job 01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c"
        );
    }

    #[test]
    fn jobs_of_one_name_are_told_apart_and_the_newest_words_stay_in_sight() {
        let text = "one two three four five six seven eight nine ten eleven twelve";
        let fields = json!({"revision": 1, "channel": 0, "begin_ms": 0, "text": text});
        for (columns, expected) in [
            (20, "1b2c … …even twelve"),
            (40, "a.wav    1b2c … …nine ten eleven twelve"),
            (60, "08:15:02 a.wav      1b2c …         … nine ten eleven twelve"),
            (80, "08:15:02 a.wav              1b2c …         … seven eight nine ten eleven twelve"),
        ] {
            let line = line("transcript.partial", &body(&fields), &TimeZone::UTC, Layout::of(columns));
            let shown: String = fit(&line, columns - 1).into_iter().map(|span| span.text).collect();
            assert_eq!(shown, expected);
        }
        let of = |job: &str| {
            let body = body(&json!({"route": "default", "job": job}));
            let line = line("job.accepted", &body, &TimeZone::UTC, Layout::of(40));
            line.iter().map(|span| span.text.as_str()).collect::<String>()
        };
        let (one, other) =
            (of("01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c"), of("01936f4e-5f0a-7c3e-8c1d-2f9f6f0a77aa"));
        assert!(
            one.starts_with("a.wav    1b2c accepted") && other.starts_with("a.wav    77aa accepted"),
            "{one} {other}"
        );
    }

    #[test]
    fn an_alert_names_its_rule_and_its_words() {
        let alert = json!({"alert": "1", "plugin": "keywords", "rule": "churn", "severity": "warning",
                           "state": "confirmed", "quote": "cancel", "role": "customer", "begin_ms": 0, "end_ms": 3200});
        let line = shown("alert.raised", alert);
        assert!(line.ends_with("WARNING   churn: \"cancel\" (keywords) customer 0.0–3.2 s"), "{line}");
    }

    #[test]
    fn who_spoke_how_long_is_a_line() {
        let channel = |number: u32, more: Value| {
            let mut channel = json!({"channel": number, "speech_ms": 2340, "turns": 1, "longest_turn_ms": 2340,
                                     "level_dbfs": -23.0, "clipped": 0.0});
            channel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            channel
        };
        let channels = [channel(0, json!({"role": "agent"})), channel(1, json!({"doubles": 0}))];
        let line = shown(
            "annotation.speech",
            json!({"channels": channels, "overlap_ms": 0, "silence_ms": 860, "interruptions": []}),
        );
        assert!(
            line.ends_with("speech    agent 2.3 s, channel 1 repeats channel 0, silence 0.9 s"),
            "{line}"
        );
    }

    #[test]
    fn a_failure_says_code_blame_and_message() {
        let error =
            json!({"code": "NOT_AUDIO", "blame": "audio", "message": "a.wav is no audio", "attempts": 1});
        let line = shown(
            "job.failed",
            json!({"error": error, "audio_seconds": null, "billed_seconds": 0, "cost_usd": 0.0, "elapsed_ms": 5}),
        );
        assert!(line.ends_with("FAILED    NOT_AUDIO (audio): a.wav is no audio; 1 try"), "{line}");
    }

    #[test]
    fn an_event_of_a_later_version_is_shown_raw() {
        assert!(shown("job.paused", json!({})).starts_with("job.paused {"));
    }
}
