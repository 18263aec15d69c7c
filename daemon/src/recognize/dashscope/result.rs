//! The service's result file of a task, and the transcript that Hark makes of it.

use hark_sdk::event::{Segment, Timing, Usage};
use serde::Deserialize;

use super::answers::{Word, words};
use crate::job::Transcript;

/// The fields that are read from a result file; both families write them.
#[derive(Debug, Deserialize)]
pub(super) struct ResultFile {
    /// The URL of the recording, as the service stored it.
    pub(super) file_url: String,
    transcripts: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    channel_id: u32,
    text: String,
    sentences: Vec<Sentence>,
}

#[derive(Debug, Deserialize)]
struct Sentence {
    begin_time: u64,
    end_time: u64,
    text: String,
    language: Option<String>,
    emotion: Option<String>,
    /// Of the models that tell speakers apart, if asked to.
    speaker_id: Option<u64>,
    /// Of the qwen3 model only if asked for.
    words: Option<Vec<Word>>,
}

impl ResultFile {
    /// The whole text as the service gives it (one line a channel), and the sentences in order of begin and channel.
    pub(super) fn into_transcript(self, billed: Usage) -> Transcript {
        let texts = self.transcripts.iter().map(|channel| channel.text.trim());
        let text = texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        let mut segments: Vec<Segment> =
            self.transcripts.into_iter().flat_map(Channel::into_segments).collect();
        segments.sort_by_key(|segment| (segment.begin_ms, segment.channel));
        Transcript { text, segments, truncated: false, billed }
    }
}

impl Channel {
    fn into_segments(self) -> impl Iterator<Item = Segment> {
        let channel = self.channel_id;
        self.sentences.into_iter().map(move |sentence| Segment {
            channel,
            begin_ms: Some(sentence.begin_time),
            end_ms: Some(sentence.end_time),
            timing: Timing::Service,
            text: sentence.text,
            language: sentence.language,
            emotion: sentence.emotion,
            speaker: sentence.speaker_id.map(|speaker| speaker.to_string()),
            words: sentence.words.as_deref().map(words),
            ..Segment::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn transcript(result: Value) -> Transcript {
        serde_json::from_value::<ResultFile>(result).unwrap().into_transcript(Usage::seconds(3))
    }

    #[test]
    fn sentences_of_all_channels_are_in_order_of_begin() {
        let sentence = |begin: u64, end: u64, text: &str| json!({"sentence_id": 0, "begin_time": begin, "end_time": end, "language": "de", "emotion": "neutral", "text": text, "words": []});
        let heard = transcript(
            json!({"file_url": "u", "audio_info": {"format": "mp3", "sample_rate": 22050}, "transcripts": [
                {"channel_id": 0, "text": "a c", "sentences": [sentence(0, 900, "a"), sentence(2000, 2500, "c")]},
                {"channel_id": 1, "text": "b", "sentences": [sentence(1000, 1500, "b")]},
            ]}),
        );
        let shown: Vec<_> = heard
            .segments
            .iter()
            .map(|segment| (segment.channel, segment.begin_ms, &*segment.text))
            .collect();
        assert_eq!(shown, [(0, Some(0), "a"), (1, Some(1000), "b"), (0, Some(2000), "c")]);
        assert_eq!((&*heard.text, heard.billed.seconds), ("a c\nb", 3));
        assert_eq!(heard.segments[0].timing, Timing::Service);
        assert_eq!(heard.segments[0].language.as_deref(), Some("de"));
    }

    #[test]
    fn silence_is_no_segment() {
        let silent = json!({"channel_id": 0, "text": "", "sentences": []});
        let heard = transcript(json!({"file_url": "u", "transcripts": [silent]}));
        assert_eq!((&*heard.text, heard.segments), ("", Vec::new()));
    }

    /// The provider's documentation, "Result file".
    #[test]
    fn the_other_familys_file_has_speakers_and_words_and_no_language() {
        let sentence = |id: u64, speaker: u64, text: &str| {
            let words = json!([{"begin_time": id, "end_time": id + 1, "text": " Hello", "punctuation": "!"}]);
            json!({"sentence_id": id, "begin_time": id * 10, "end_time": id * 10 + 9, "text": text, "speaker_id": speaker, "words": words})
        };
        let heard = transcript(json!({
            "file_url": "u",
            "properties": {"audio_format": "pcm_s16le", "channels": [0], "original_sampling_rate": 16_000, "original_duration_in_milliseconds": 3_834},
            "transcripts": [{"channel_id": 0, "content_duration_in_milliseconds": 3_720, "text": "Hello! Hello!", "sentences": [sentence(1, 0, "Hello!"), sentence(2, 1, "Hello!")]}],
        }));
        let shown: Vec<_> =
            heard.segments.iter().map(|segment| (segment.speaker.as_deref(), segment.begin_ms)).collect();
        assert_eq!(shown, [(Some("0"), Some(10)), (Some("1"), Some(20))]);
        let words = heard.segments[0].words.as_ref().unwrap();
        assert_eq!((words[0].begin_ms, words[0].end_ms, &*words[0].text), (1, 2, "Hello!"));
        assert_eq!(heard.segments[0].language, None);
    }
}
