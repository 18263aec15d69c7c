//! The file in which the service puts a task's result, and the transcript that it makes.

use hark_sdk::event::{Segment, Timing};
use hark_sdk::plain::Plain;
use serde::Deserialize;

use super::json::{self, number};
use crate::job::Transcript;

/// Latest time in a recording that is believed, in milliseconds: seven days, far beyond the service's twelve hours.
const LATEST_MS: f64 = 7.0 * 24.0 * 3600.0 * 1000.0;

/// What is read of a result file; word times are not. It is paid for: what is not there, or null, is as good as empty.
#[derive(Debug, Deserialize)]
pub(crate) struct ResultFile {
    /// What was recognized, as the service had its URL.
    #[serde(default, deserialize_with = "or_empty")]
    pub(crate) file_url: String,
    #[serde(deserialize_with = "or_empty")]
    transcripts: Vec<Channel>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    #[serde(default, deserialize_with = "or_unknown")]
    channel_id: Option<f64>,
    #[serde(default, deserialize_with = "or_empty")]
    text: String,
    #[serde(default, deserialize_with = "or_empty")]
    sentences: Vec<Sentence>,
}

#[derive(Debug, Deserialize)]
struct Sentence {
    #[serde(default, deserialize_with = "or_unknown")]
    begin_time: Option<f64>,
    #[serde(default, deserialize_with = "or_unknown")]
    end_time: Option<f64>,
    #[serde(default, deserialize_with = "or_empty")]
    text: String,
    #[serde(default, deserialize_with = "or_untold")]
    language: Option<String>,
    #[serde(default, deserialize_with = "or_untold")]
    emotion: Option<String>,
}

fn or_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// What is no number is not known.
fn or_unknown<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    Ok(number(&Plain::deserialize(value)?.0))
}

/// What is no text tells nothing.
fn or_untold<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Ok(Plain::deserialize(value)?.0.as_str().map(str::to_owned))
}

impl ResultFile {
    /// Reads a file, which may be wrapped as the API's answers are, or be the one of a list.
    ///
    /// # Errors
    /// Those of [`json::read`]; of the file as it is documented.
    pub(crate) fn read(body: &[u8]) -> serde_json::Result<ResultFile> {
        #[derive(Deserialize)]
        struct Wrapped {
            output: ResultFile,
        }
        json::read(body).or_else(|error| {
            let wrapped = json::read(body).map(|Wrapped { output }| output);
            wrapped.or_else(|_| json::read(body).map(|[one]: [ResultFile; 1]| one)).map_err(|_| error)
        })
    }

    /// The whole text as the service tells it (one line a channel), and the pieces in order of begin and channel, those without times last.
    pub(crate) fn into_transcript(self, billed_seconds: u64) -> Transcript {
        let texts: Vec<String> =
            self.transcripts.iter().map(Channel::whole).filter(|text| !text.is_empty()).collect();
        let text = texts.join("\n");
        let mut segments: Vec<Segment> =
            self.transcripts.into_iter().flat_map(Channel::into_segments).collect();
        segments.sort_by_key(|segment| (segment.begin_ms.unwrap_or(u64::MAX), segment.channel));
        Transcript { text, segments, truncated: false, billed_seconds }
    }
}

impl Channel {
    /// Its text, or what its sentences come to.
    fn whole(&self) -> String {
        match self.text.trim() {
            "" => {
                let sentences = self.sentences.iter().map(|sentence| sentence.text.trim());
                sentences.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
            }
            text => text.to_owned(),
        }
    }

    fn into_segments(self) -> Vec<Segment> {
        let channel = self.channel_id.unwrap_or_default() as u32;
        if self.sentences.is_empty() {
            let whole =
                Sentence { begin_time: None, end_time: None, text: self.text, language: None, emotion: None };
            return if whole.text.trim().is_empty() { Vec::new() } else { vec![whole.into_segment(channel)] };
        }
        self.sentences.into_iter().map(|sentence| sentence.into_segment(channel)).collect()
    }
}

impl Sentence {
    /// Begin and end in milliseconds. Where one of them cannot be, nobody measured the other either.
    fn times(&self) -> Option<(u64, u64)> {
        let (begin, end) = (self.begin_time?, self.end_time?);
        let possible = 0.0 <= begin && begin <= end && end <= LATEST_MS;
        possible.then(|| (begin.round() as u64, end.round() as u64))
    }

    fn into_segment(self, channel: u32) -> Segment {
        let times = self.times();
        Segment {
            channel,
            role: None,
            begin_ms: times.map(|(begin, _)| begin),
            end_ms: times.map(|(_, end)| end),
            timing: if times.is_some() { Timing::Service } else { Timing::None },
            text: self.text,
            language: self.language.filter(|language| !language.is_empty()),
            emotion: self.emotion.filter(|emotion| !emotion.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn segments(result: Value) -> Vec<Segment> {
        serde_json::from_value::<ResultFile>(result).unwrap().into_transcript(0).segments
    }

    #[test]
    fn sentences_of_all_channels_are_in_order_of_begin() {
        let sentence = |begin: u64, end: u64, text: &str| json!({"sentence_id": 0, "begin_time": begin, "end_time": end, "language": "de", "emotion": "neutral", "text": text, "words": []});
        let heard = segments(json!({"file_url": "u", "transcripts": [
            {"channel_id": 0, "text": "a c", "sentences": [sentence(0, 900, "a"), sentence(2000, 2500, "c")]},
            {"channel_id": 1, "text": "b", "sentences": [sentence(1000, 1500, "b")]},
        ]}));
        let shown: Vec<_> =
            heard.iter().map(|segment| (segment.channel, segment.begin_ms, &*segment.text)).collect();
        assert_eq!(shown, [(0, Some(0), "a"), (1, Some(1000), "b"), (0, Some(2000), "c")]);
        assert_eq!(heard[0].timing, Timing::Service);
        assert_eq!(heard[0].language.as_deref(), Some("de"));
    }

    #[test]
    fn times_that_nobody_measured_are_not_invented() {
        let heard = segments(json!({"transcripts": [{"channel_id": 0, "text": "whole"}]}));
        assert_eq!((heard[0].begin_ms, heard[0].end_ms, heard[0].timing), (None, None, Timing::None));
        let heard = segments(json!({"transcripts": [{"sentences": [{"begin_time": 5, "text": "a"}]}]}));
        assert_eq!((heard[0].begin_ms, heard[0].timing), (None, Timing::None));
    }

    #[test]
    fn times_that_cannot_be_were_not_measured() {
        let times = |begin: Value, end: Value| {
            let sentence = json!({"begin_time": begin, "end_time": end, "text": "a"});
            let heard = segments(json!({"transcripts": [{"sentences": [sentence]}]})).remove(0);
            assert_eq!(heard.text, "a");
            assert_eq!(heard.timing == Timing::None, heard.begin_ms.is_none());
            heard.begin_ms.zip(heard.end_ms)
        };
        assert_eq!(times(json!(900), json!(900)), Some((900, 900)));
        assert_eq!(times(json!(0), json!(12 * 3600 * 1000)), Some((0, 43_200_000)));
        for (begin, end) in [
            (json!(900), json!(100)),
            (json!(0), json!(1e25)),
            (json!("0"), json!("1e25")),
            (json!(0), json!(u64::MAX)),
            (json!(-5), json!(100)),
            (json!("NaN"), json!(100)),
            (json!(0), json!("inf")),
        ] {
            assert_eq!(times(begin.clone(), end.clone()), None, "{begin} {end}");
        }
    }

    #[test]
    fn what_is_null_is_empty_and_a_channel_without_a_text_has_its_sentences() {
        let result = json!({"file_url": null, "transcripts": [
            {"channel_id": null, "text": null, "sentences": [{"text": "one", "language": null}, {"text": null}, {"text": "two"}]},
            {"channel_id": 1, "text": null, "sentences": null},
        ]});
        let heard = serde_json::from_value::<ResultFile>(result).unwrap().into_transcript(0);
        assert_eq!((heard.text.as_str(), heard.segments.len()), ("one two", 3));
        assert_eq!(segments(json!({"transcripts": null})), []);
        assert!(serde_json::from_value::<ResultFile>(json!({"error": "a gateway's"})).is_err());
    }

    #[test]
    fn a_language_that_is_no_text_costs_no_result() {
        let sentence =
            json!({"begin_time": 0, "end_time": 9, "text": "a", "language": {"code": "de"}, "emotion": 7});
        let heard = segments(json!({"transcripts": [{"sentences": [sentence]}]}));
        assert_eq!((&*heard[0].text, &heard[0].language, &heard[0].emotion), ("a", &None, &None));
    }

    #[test]
    fn numbers_may_be_written_as_text() {
        let heard = segments(json!({"transcripts": [{"channel_id": "1", "sentences": [
            {"begin_time": "5", "end_time": " 7.4 ", "text": "a"}, {"begin_time": "soon", "end_time": 9, "text": "b"},
        ]}]}));
        assert_eq!((heard[0].channel, heard[0].begin_ms, heard[0].end_ms), (1, Some(5), Some(7)));
        assert_eq!((heard[1].begin_ms, heard[1].timing), (None, Timing::None));
    }

    #[test]
    fn a_result_may_be_wrapped() {
        let result = json!({"file_url": "u", "transcripts": [{"text": "so"}]});
        let read = |result: &Value| ResultFile::read(result.to_string().as_bytes());
        for wrapped in [json!({"output": result, "request_id": "r"}), json!([result]), result.clone()] {
            let file = read(&wrapped).unwrap();
            assert_eq!(file.file_url, "u");
            assert_eq!(file.into_transcript(0).text, "so");
        }
        let empty = json!({"file_url": "u"});
        for no_result in [
            json!([result, result]),
            json!([]),
            json!({"output": empty}),
            json!([empty]),
            empty,
            json!([[result]]),
        ] {
            assert!(read(&no_result).is_err(), "{no_result}");
        }
    }

    #[test]
    fn silence_is_no_segment() {
        assert_eq!(segments(json!({"transcripts": []})), []);
        assert_eq!(segments(json!({"transcripts": [{"channel_id": 0, "text": "", "sentences": []}]})), []);
    }
}
