//! What holds of cues whatever was said, and what parsers of others read in the files.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

use std::collections::HashMap;
use std::time::Duration;

use hark_sdk::event::{Body, Event, Segment, Timing, Word};
use hark_sdk::testing::{Bench, transcript};
use hark_sdk::{Plugin, Transcript};
use proptest::prelude::*;
use serde_json::json;
use subtitles::{Cue, Subtitles};
use subtp::srt::SubRip;
use subtp::vtt::{VttBlock, WebVtt};
use unicode_width::UnicodeWidthStr;

const MAX_CHARS: usize = 30;
const MAX_LINES: usize = 2;
const MAX_CPS: u64 = 20;

fn config() -> String {
    json!({ "formats": ["srt", "vtt"], "max_chars": MAX_CHARS, "max_lines": MAX_LINES, "max_cps": MAX_CPS })
        .to_string()
}

fn final_of(segments: Vec<Segment>) -> Event {
    let mut event = transcript(&[]);
    event.recording.duration_ms = Some(3_600_000);
    if let Body::TranscriptFinal(fields) = &mut event.body {
        fields.segments = Some(segments);
    }
    event
}

fn cues(event: &Event) -> Vec<Cue> {
    let Body::TranscriptFinal(fields) = &event.body else { panic!("{event:?}") };
    let cues = Subtitles::create(&config()).unwrap().cues(&Transcript { event, fields });
    assert_eq!(cues.untimed, 0);
    cues.cues
}

/// Without white space and control characters.
fn bare(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace() && !character.is_control()).collect()
}

fn rate(cue: &Cue) -> u64 {
    cue.lines.join(" ").width() as u64 * 1_000 / (cue.end_ms - cue.begin_ms)
}

fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => "[a-zäöüß]{1,12}[,.?!:;]?",
        3 => "[我们要取消合同谢谢您的来电]{1,12}[，。？]?",
        3 => "[おでんわありがとう電話注文カタカナー]{1,12}[、。]?",
        1 => "[ก-ฮ]{1,8}",
        1 => "[0-9]{1,24}",
        1 => "[a-z]{40,70}",
        1 => ".{1,6}",
    ];
    (prop::collection::vec(word, 1..60), "[ \n]?")
        .prop_map(|(words, space)| words.join(if space.is_empty() { "" } else { " " }))
}

/// Segments one after the other and over each other, on two channels and by two speakers.
fn call() -> impl Strategy<Value = Vec<Segment>> {
    let segment = (text(), 0..20_000_u64, 500..30_000_u64, 0..2_u32, 0..3_u32, any::<bool>());
    prop::collection::vec(segment, 1..8).prop_map(|segments| {
        let mut begin = 0;
        let segment =
            |(text, later, length, channel, speaker, has_words): (String, u64, u64, u32, u32, bool)| {
                begin += later;
                let end = begin + length;
                let words: Vec<&str> = text.split_whitespace().collect();
                let each = length / words.len().max(1) as u64;
                // Every third word is followed by a pause.
                let word = |(index, text): (u64, &&str)| Word {
                    begin_ms: begin + index * each,
                    end_ms: begin + index * each + if index % 3 == 2 { each / 4 } else { each },
                    text: (*text).to_owned(),
                };
                Segment {
                    channel,
                    role: (speaker > 1).then(|| {
                        ["agent", "customer service représentative お客様"][channel as usize].to_owned()
                    }),
                    speaker: (speaker > 0).then(|| speaker.to_string()),
                    begin_ms: Some(begin),
                    end_ms: Some(end),
                    timing: Timing::Service,
                    words: has_words.then(|| (0..).zip(&words).map(word).collect()),
                    text,
                    ..Segment::default()
                }
            };
        let mut segments: Vec<Segment> = segments.into_iter().map(segment).collect();
        segments.retain(|segment| !bare(&segment.text).is_empty());
        segments
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn every_word_is_shown_once_within_the_limits(segments in call()) {
        let event = final_of(segments.clone());
        let cues = cues(&event);
        let mut latest: HashMap<u32, u64> = HashMap::new();
        for cue in &cues {
            prop_assert!(cue.begin_ms < cue.end_ms, "{cue:?}");
            prop_assert!(latest.insert(cue.channel, cue.end_ms).is_none_or(|end| end <= cue.begin_ms), "{cue:?} overlaps");
            prop_assert!((1..=MAX_LINES).contains(&cue.lines.len()), "{cue:?}");
            // A test below reads the first line with the name.
            prop_assert!(cue.lines.iter().all(|line| !line.is_empty() && line.width() <= MAX_CHARS), "{cue:?}");
        }
        prop_assert!(cues.is_sorted_by_key(|cue| (cue.begin_ms, cue.channel)));
        for channel in [0, 1] {
            let of_channel = segments.iter().filter(|segment| segment.channel == channel);
            let mut in_time: Vec<_> = of_channel.collect();
            in_time.sort_by_key(|segment| (segment.begin_ms, segment.end_ms));
            let said: String = in_time.iter().map(|segment| bare(&segment.text)).collect();
            let shown: String = cues.iter().filter(|cue| cue.channel == channel).map(|cue| bare(&cue.lines.concat())).collect();
            prop_assert_eq!(shown, said);
        }
    }

    #[test]
    fn cues_of_segments_that_begin_almost_together_follow_each_other(text in text(), later in 0..20_u64) {
        let segment = |begin_ms, speaker: &str| Segment {
            begin_ms: Some(begin_ms), end_ms: Some(20_000), text: text.clone(), speaker: Some(speaker.to_owned()), ..Segment::default()
        };
        let cues = cues(&final_of(vec![segment(5_000, "1"), segment(5_000 + later, "2")]));
        prop_assert!(cues.iter().all(|cue| cue.begin_ms < cue.end_ms), "{cues:?}");
        prop_assert!(cues.windows(2).all(|two| two[0].end_ms <= two[1].begin_ms), "{cues:?}");
    }

    #[test]
    fn cues_stay_within_their_segment_and_can_be_read_if_it_can(text in text(), length in 1_000..60_000_u64) {
        let segment = Segment { begin_ms: Some(5_000), end_ms: Some(5_000 + length), text: text.clone(), ..Segment::default() };
        prop_assume!(!bare(&text).is_empty());
        let cues = cues(&final_of(vec![segment]));
        prop_assert_eq!(cues[0].begin_ms, 5_000);
        let last = cues.last().unwrap();
        let wanted = (last.lines.join(" ").width() as u64 * 1_000 / MAX_CPS).max(1_000);
        prop_assert!(last.end_ms <= (5_000 + length).max(last.begin_ms + wanted + 50), "{last:?}");
        prop_assert!(rate(last) <= MAX_CPS, "{last:?} has room");
        let spoken = text.split_whitespace().collect::<Vec<_>>().join(" ").width() as u64 * 1_000 / length;
        // A cue has no time of the spaces at its ends: what is said hardly slower than it can be read may be too fast by a little.
        if spoken * 5 / 4 <= MAX_CPS {
            for cue in &cues {
                prop_assert!(rate(cue) <= MAX_CPS, "{} a second in {cue:?}", rate(cue));
            }
        }
    }

    #[test]
    fn parsers_of_others_read_what_was_written(segments in call()) {
        let event = final_of(segments);
        let cues = cues(&event);
        let heard = Bench::<Subtitles>::create(&config()).unwrap().hand(&event).unwrap();
        let file = |suffix| {
            let file = heard.files.iter().find(|file| file.suffix == suffix).unwrap();
            String::from_utf8(file.bytes.clone()).unwrap()
        };
        let ms = |at: Duration| at.as_millis() as u64;

        let srt = SubRip::parse(&file(".srt")).unwrap();
        prop_assert_eq!(srt.subtitles.len(), cues.len());
        for (number, (read, cue)) in (1..).zip(srt.subtitles.iter().zip(&cues)) {
            prop_assert_eq!(read.sequence, number);
            prop_assert_eq!((ms(read.start.into()), ms(read.end.into())), (cue.begin_ms, cue.end_ms));
            prop_assert_eq!(read.text.len(), cue.lines.len());
            prop_assert!(read.text.iter().all(|line| line.width() <= MAX_CHARS), "{read:?}");
        }

        let vtt = WebVtt::parse(&file(".vtt")).unwrap();
        let read: Vec<_> = vtt.blocks.iter().map(|block| match block {
            VttBlock::Que(cue) => cue,
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(read.len(), cues.len());
        for (read, cue) in read.into_iter().zip(&cues) {
            prop_assert_eq!((ms(read.timings.start.into()), ms(read.timings.end.into())), (cue.begin_ms, cue.end_ms));
            prop_assert_eq!(read.payload.len(), cue.lines.len());
        }
    }
}
