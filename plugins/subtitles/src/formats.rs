//! Cues as SubRip and WebVTT.

use std::fmt::Write;

use crate::cues::Cue;
use crate::speaker::short_label;

/// SubRip. Lines end as the program of that name writes them. The format has no escapes: in place of what a player would take for a tag or
/// an arrow stands a sign that looks like it, `‹b>`, `--›`.
pub(crate) fn srt(cues: &[Cue], max_chars: u32) -> String {
    let mut file = String::new();
    for (number, cue) in (1..).zip(cues) {
        let text = unlike_markup(&cue.lines.join("\r\n"));
        let name = cue.speaker.as_deref().filter(|_| cue.is_named);
        let name = name.map(|name| unlike_markup(&short_label(name, max_chars)));
        let (begin, end) = (time(cue.begin_ms, ','), time(cue.end_ms, ','));
        push(
            &mut file,
            format_args!("{number}\r\n{begin} --> {end}\r\n{}{text}\r\n\r\n", name.unwrap_or_default()),
        );
    }
    file
}

/// WebVTT. Who speaks is the format's own `<v name>`, in every cue.
pub(crate) fn vtt(cues: &[Cue]) -> String {
    let mut file = String::from("WEBVTT\n");
    for cue in cues {
        let text = escaped(&cue.lines.join("\n"));
        let text = match &cue.speaker {
            Some(name) => format!("<v {}>{text}</v>", escaped(name)),
            None => text,
        };
        let (begin, end) = (time(cue.begin_ms, '.'), time(cue.end_ms, '.'));
        push(&mut file, format_args!("\n{begin} --> {end}\n{text}\n"));
    }
    file
}

fn push(file: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = file.write_fmt(text);
}

fn time(ms: u64, point: char) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    format!("{:02}:{:02}:{:02}{point}{ms:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn unlike_markup(text: &str) -> String {
    text.replace('<', "‹").replace("-->", "--›")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(lines: &[&str], speaker: Option<&str>, is_named: bool) -> Cue {
        Cue {
            begin_ms: 3_723_004,
            end_ms: 36_000_050,
            channel: 0,
            speaker: speaker.map(str::to_owned),
            is_named,
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        }
    }

    #[test]
    fn the_formats_are_written_as_players_expect_them() {
        let cues = [cue(&["Good", "morning."], Some("agent"), true), cue(&["a < b"], Some("agent"), false)];
        let expected = "1\r\n01:02:03,004 --> 10:00:00,050\r\nagent: Good\r\nmorning.\r\n\r\n\
                        2\r\n01:02:03,004 --> 10:00:00,050\r\na ‹ b\r\n\r\n";
        assert_eq!(srt(&cues, 42), expected);
        let expected = "WEBVTT\n\n01:02:03.004 --> 10:00:00.050\n<v agent>Good\nmorning.</v>\n\n\
                        01:02:03.004 --> 10:00:00.050\n<v agent>a &lt; b</v>\n";
        assert_eq!(vtt(&cues), expected);
        assert_eq!((srt(&[], 42).as_str(), vtt(&[]).as_str()), ("", "WEBVTT\n"));
    }

    #[test]
    fn what_looks_like_markup_stays_text() {
        let cues = [cue(&["<b>Q&A</b> x --> y > z"], Some("<i>"), true)];
        let read = srt(&cues, 42);
        assert!(read.contains("‹i>: ‹b>Q&A‹/b> x --› y > z\r\n"), "{read}");
        assert!(vtt(&cues).contains("<v &lt;i&gt;>&lt;b&gt;Q&amp;A&lt;/b&gt; x --&gt; y &gt; z</v>\n"));
    }
}
