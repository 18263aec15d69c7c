//! The answers of the family's flash.

use std::collections::BTreeMap;

use hark_sdk::event::{Segment, Timing, Usage};
use hark_sdk::joined::joined;
use serde::Deserialize;

use crate::job::Transcript;
use crate::recognize::dashscope::answers::{Answer, Word, words};
use crate::recognize::dashscope::transcript::Reading;
use crate::recognize::segment_of_all;

/// Tokens of the longest answer by the page of `qwen-audio-3.1-asr-flash`; an answer of this many may have been cut.
const LONGEST_ANSWER: u64 = 1_024;

/// A whole answer of flash, or one event of its stream.
#[derive(Debug, Default, Deserialize)]
pub(in crate::recognize::dashscope) struct Flash {
    /// All text so far.
    text: Option<String>,
    /// The sentence that is being recognized.
    sentence: Option<Sentence>,
    /// The turns of the speakers, in the last event.
    sentences: Option<Vec<Sentence>>,
    /// The provider's user guide has the same once more in here; its reference has not.
    output: Option<Box<Flash>>,
}

impl Flash {
    fn flat(self) -> Flash {
        match self.output {
            Some(inner) => {
                let inner = inner.flat();
                Flash {
                    text: inner.text.or(self.text),
                    sentence: inner.sentence.or(self.sentence),
                    sentences: inner.sentences.or(self.sentences),
                    output: None,
                }
            }
            None => self,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Sentence {
    #[serde(default)]
    sentence_id: u64,
    sentence_end: Option<bool>,
    begin_time: Option<u64>,
    end_time: Option<u64>,
    text: String,
    words: Option<Vec<Word>>,
    speaker_id: Option<u64>,
}

/// What its answers have told so far.
#[derive(Debug, Default)]
pub(in crate::recognize::dashscope) struct FlashAnswer {
    text: String,
    /// The sentences by id, each as the latest event reports it.
    sentences: BTreeMap<u64, Sentence>,
    turns: Option<Vec<Sentence>>,
    billed: Usage,
    /// The latest event may be the last one.
    may_end: bool,
}

impl Reading for FlashAnswer {
    type Answer = Answer<Flash>;

    fn add(&mut self, answer: Answer<Flash>) -> bool {
        let Answer { output, usage } = answer;
        let Flash { text, sentence, sentences, .. } = output.flat();
        let usage = Usage::from(usage);
        self.billed = self.billed.max(usage);
        let ends_sentence = sentence.as_ref().is_some_and(|sentence| sentence.sentence_end == Some(true));
        self.may_end = ends_sentence || sentences.is_some() || usage.output_tokens.is_some();
        if let Some(sentence) = sentence {
            self.sentences.insert(sentence.sentence_id, sentence);
        }
        self.turns = sentences.or(self.turns.take());
        let text = text.unwrap_or_else(|| joined(self.parts().map(|sentence| sentence.text.as_str())));
        let is_another = text != self.text;
        self.text = text;
        is_another
    }

    fn text(&self) -> &str {
        &self.text
    }

    fn billed(&self) -> Usage {
        self.billed
    }

    fn is_over(&self) -> bool {
        false
    }

    /// Sentences end in the midst of a stream too: one that is cut off right there cannot be told from a whole one.
    fn is_complete(&self, is_whole: bool) -> bool {
        is_whole || self.may_end
    }

    fn into_transcript(self, duration_ms: Option<u64>) -> Transcript {
        let letters =
            |text: &str| text.chars().filter(|character| character.is_alphanumeric()).collect::<String>();
        let of_parts: String = self.parts().map(|sentence| letters(&sentence.text)).collect();
        let segments = match of_parts == letters(&self.text) {
            true => self.parts().filter(|sentence| !sentence.text.trim().is_empty()).map(segment).collect(),
            // The sentences are not all of the text, so their times are not its times.
            false => vec![segment_of_all(duration_ms, self.text.clone())],
        };
        Transcript {
            segments,
            truncated: self.billed.output_tokens >= Some(LONGEST_ANSWER),
            billed: self.billed,
            text: self.text,
        }
    }
}

impl FlashAnswer {
    /// The turns of the speakers if there are any, else the sentences, in order.
    fn parts(&self) -> Box<dyn Iterator<Item = &Sentence> + '_> {
        match &self.turns {
            Some(turns) => Box::new(turns.iter()),
            None => Box::new(self.sentences.values()),
        }
    }
}

fn segment(sentence: &Sentence) -> Segment {
    let times = sentence.begin_time.zip(sentence.end_time);
    Segment {
        begin_ms: times.map(|(begin, _)| begin),
        end_ms: times.map(|(_, end)| end),
        timing: if times.is_some() { Timing::Service } else { Timing::None },
        text: sentence.text.trim().to_owned(),
        speaker: sentence.speaker_id.map(|speaker| speaker.to_string()),
        words: sentence.words.as_deref().map(words),
        ..Segment::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::transcript::tests::transcript;
    use super::*;

    fn event(text: &str, ends: bool, usage: Value) -> Value {
        json!({"output": {"text": text, "sentence": {
            "sentence_id": 1, "sentence_end": ends, "begin_time": 760, "end_time": 1_800, "channel_id": 0, "text": text,
            "words": [
                {"begin_time": 760, "end_time": 900, "text": " Hello", "punctuation": ",", "fixed": true},
                {"begin_time": 900, "end_time": 1_800, "text": " world", "punctuation": ".", "fixed": true},
            ],
        }}, "usage": usage, "request_id": "r"})
    }

    #[test]
    fn every_event_replaces_the_text_and_the_last_one_has_times_and_words() {
        let heard = transcript::<FlashAnswer>(&[
            event("Hallo", false, json!({"duration": 2})),
            event("Hello, world", false, json!({"duration": 2})),
            event("Hello, world.", true, json!({"duration": 2, "input_tokens": 82, "output_tokens": 5})),
        ])
        .unwrap();
        assert_eq!((&*heard.text, heard.billed.seconds, heard.truncated), ("Hello, world.", 2, false));
        let [segment] = &heard.segments[..] else { panic!("{:?}", heard.segments) };
        assert_eq!(
            (segment.begin_ms, segment.end_ms, segment.timing),
            (Some(760), Some(1_800), Timing::Service)
        );
        let words: Vec<_> =
            segment.words.as_ref().unwrap().iter().map(|word| (word.begin_ms, &*word.text)).collect();
        assert_eq!(words, [(760, "Hello,"), (900, "world.")]);
    }

    #[test]
    fn a_stream_that_ends_in_the_midst_of_a_sentence_was_cut_off() {
        let events = [event("Hello", false, json!({"duration": 2}))];
        assert_eq!(transcript::<FlashAnswer>(&events).unwrap_err(), "EndedWithoutStop");
        // fun-asr-flash tells no tokens, and 3.1 tells them in the last event only.
        assert!(transcript::<FlashAnswer>(&[event("Hello", true, json!({"duration": 2}))]).is_ok());
        assert!(
            transcript::<FlashAnswer>(&[event("Hello", false, json!({"duration": 2, "output_tokens": 2}))])
                .is_ok()
        );
    }

    #[test]
    fn the_nested_form_of_the_user_guide_is_read_as_well() {
        let answer = json!({"output": {"output": {"sentence": {
            "sentence_id": 1, "sentence_end": true, "begin_time": 0, "end_time": 1_500, "text": "欢迎使用",
            "words": [{"begin_time": 0, "end_time": 1_500, "text": "欢迎使用", "punctuation": ""}],
        }}}, "usage": {"duration": 3.8}});
        let heard = transcript::<FlashAnswer>(&[answer]).unwrap();
        assert_eq!((&*heard.text, heard.billed.seconds), ("欢迎使用", 4));
        assert_eq!(heard.segments[0].end_ms, Some(1_500));
    }

    #[test]
    fn the_turns_of_speakers_are_segments() {
        let turn = |speaker: u64, begin: u64, text: &str| json!({"sentence_id": 1, "speaker_id": speaker, "begin_time": begin, "end_time": begin + 500, "text": text, "words": []});
        let mut last = event("Hello. Good morning.", true, json!({"duration": 2, "output_tokens": 9}));
        last["output"]["sentences"] = json!([turn(0, 0, "Hello."), turn(1, 700, "Good morning.")]);
        let heard =
            transcript::<FlashAnswer>(&[event("Hello", false, json!({"duration": 2})), last]).unwrap();
        let shown: Vec<_> = heard
            .segments
            .iter()
            .map(|segment| (segment.speaker.as_deref(), segment.begin_ms, &*segment.text))
            .collect();
        assert_eq!(shown, [(Some("0"), Some(0), "Hello."), (Some("1"), Some(700), "Good morning.")]);
    }

    #[test]
    fn sentences_are_collected_and_their_times_hold_only_if_they_are_all_of_the_text() {
        let sentence = |id: u64, text: &str, all: &str| json!({"output": {"text": all, "sentence": {"sentence_id": id, "sentence_end": true, "begin_time": id * 1_000, "end_time": id * 1_000 + 500, "text": text}}, "usage": {"duration": 4}});
        let both = [sentence(1, "One.", "One."), sentence(2, "Two.", "One. Two.")];
        let heard = transcript::<FlashAnswer>(&both).unwrap();
        let times: Vec<_> = heard.segments.iter().map(|segment| segment.begin_ms).collect();
        assert_eq!(times, [Some(1_000), Some(2_000)]);
        let heard = transcript::<FlashAnswer>(&both[1..]).unwrap();
        assert_eq!((heard.segments.len(), heard.segments[0].timing), (1, Timing::Chunk));
        assert_eq!(heard.segments[0].text, "One. Two.");
    }

    #[test]
    fn silence_has_no_segment_and_an_answer_of_the_longest_length_is_told_as_cut() {
        let silence = json!({"output": {"text": ""}, "usage": {"duration": 2, "output_tokens": 0}});
        let heard = transcript::<FlashAnswer>(&[silence]).unwrap();
        assert_eq!((&*heard.text, heard.segments), ("", Vec::new()));
        let long = event("Hello, world.", true, json!({"duration": 2, "output_tokens": 1_024}));
        assert!(transcript::<FlashAnswer>(&[long]).unwrap().truncated);
    }
}
