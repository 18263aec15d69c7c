//! The families `transcript` and `annotation`: what was said, in which language, how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{Engine, Fault};
use super::plugin::About;

/// `transcript.partial`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptPartial {
    /// 1, 2, … per job; a later one replaces an earlier one of the same channel and piece.
    pub revision: u64,
    /// Channel, from 0.
    pub channel: u32,
    /// The channel's role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The piece, from 1, where the recording is sent in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<u32>,
    /// Where the piece starts, in milliseconds of the recording.
    pub begin_ms: u64,
    /// The text of the piece so far.
    pub text: String,
    /// Present and true where the text is nothing but words of the context: it may not have been said.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub echo: bool,
}

/// `transcript.segment`: a piece of a recording that is sent in several is heard. In the order of hearing, which may differ from the
/// order of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptSegment {
    /// Which engine made it.
    pub engine: Engine,
    /// The service's model name.
    pub model: String,
    /// The piece, from 1 in the order of time.
    pub piece: u32,
    /// How many pieces the recording has; null while further ones are still being made.
    pub pieces: Option<u32>,
    /// Where the piece begins, in milliseconds of the recording.
    pub begin_ms: u64,
    /// Where the piece ends, in milliseconds of the recording.
    pub end_ms: u64,
    /// Present and true where the service cut the piece's text.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub truncated: bool,
    /// What was said in the piece; empty where nothing was said.
    pub segments: Vec<Segment>,
}

/// `transcript.final`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranscriptFinal {
    /// Which engine made it.
    pub engine: Engine,
    /// The service's model name.
    pub model: String,
    /// The whole text; empty where nothing was said.
    pub text: String,
    /// Language of most of the speech, null if unknown.
    pub language: Option<String>,
    /// Emotion of most of the speech, null if unknown.
    pub emotion: Option<String>,
    /// Whether any word was recognized; null where that is not known: a piece failed and the others said nothing, or all that was
    /// recognized is an echo of the context.
    #[serde(default)]
    pub speech: Option<bool>,
    /// Present and true where the service cut the text (`finish_reason` "length"), or where the text alone would not fit into a
    /// message: then the segments have it whole.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub truncated: bool,
    /// The pieces, by begin and channel. Left out where they are in `segments_object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<Vec<Segment>>,
    /// Where the segments are when the body would not fit into a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments_object: Option<ObjectRef>,
    /// What the service charged for this transcript.
    pub usage: Usage,
    /// How far the transcript can be relied on.
    #[serde(default)]
    pub quality: Quality,
}

/// How far a transcript can be relied on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// Milliseconds in which the voice-activity detector found speech, estimated where it heard a sample; null where the audio was not decoded
    /// here.
    pub speech_ms: Option<u64>,
    /// Segments in which a phrase repeats more than 20 times, as recognizers do that have lost their way.
    pub repetition: u32,
    /// Segments whose text is nothing but words of the context, as recognizers write them over silence: they may not have been said.
    #[serde(default)]
    pub echo: u32,
    /// Milliseconds of audio that could not be recognized; their segments have an `error`.
    pub failed_ms: u64,
}

/// A piece of a transcript.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// Channel, from 0.
    pub channel: u32,
    /// The channel's role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Who speaks: "0", "1", … within this recording; absent where the recognizer was not asked, or does not tell speakers apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Begin in milliseconds of the recording; null where it was not measured.
    pub begin_ms: Option<u64>,
    /// End in milliseconds of the recording; null where it was not measured.
    pub end_ms: Option<u64>,
    /// Where the times come from.
    pub timing: Timing,
    /// What was said.
    pub text: String,
    /// The service's language code.
    pub language: Option<String>,
    /// The service's emotion.
    pub emotion: Option<String>,
    /// The words with their times, in order; absent where the route does not ask for them, or the recognizer does not tell them. A
    /// transform that changes the text takes them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<Word>>,
    /// Present and true where the text is nothing but words of the context, as recognizers write them over silence: it may not have been
    /// said.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub echo: bool,
    /// Present where this part of the recording could not be recognized; then `text` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

/// A word of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Word {
    /// Begin in milliseconds of the recording.
    pub begin_ms: u64,
    /// End in milliseconds of the recording.
    pub end_ms: u64,
    /// The word with the punctuation behind it, without spaces around it.
    pub text: String,
}

/// Where a segment's times come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// The service measured them.
    Service,
    /// They are the borders of the piece that was sent.
    Chunk,
    /// No times were measured; they are null.
    #[default]
    None,
}

/// `annotation.speech`: who spoke how long, measured from the audio; once for each recording that was listened to from begin to end where the
/// daemon runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotationSpeech {
    /// Each channel; mixed audio is channel 0.
    pub channels: Vec<ChannelSpeech>,
    /// Milliseconds in which more than one channel speaks; a channel that repeats another does not count.
    pub overlap_ms: u64,
    /// Milliseconds in which no channel speaks.
    pub silence_ms: u64,
    /// The longest time in which no channel speaks; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_silence: Option<TimeSpan>,
    /// The turns that begin inside another channel's turn and go on after that one ends, in order of time; at most 10,000.
    pub interruptions: Vec<Interruption>,
}

/// The speech of a channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelSpeech {
    /// Channel, from 0.
    pub channel: u32,
    /// The channel's role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Milliseconds of speech.
    pub speech_ms: u64,
    /// How many turns it has: speech with no pause over a second.
    pub turns: u32,
    /// The longest turn in milliseconds.
    pub longest_turn_ms: u64,
    /// The root mean square of its speech; null where it has none.
    pub level_dbfs: Option<f64>,
    /// The share of its samples at full scale, from 0 to 1.
    pub clipped: f64,
    /// Present where it repeats another channel and so was not sent: that channel's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubles: Option<u32>,
}

/// A time in a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeSpan {
    /// Begin in milliseconds of the recording.
    pub begin_ms: u64,
    /// End in milliseconds of the recording.
    pub end_ms: u64,
}

impl TimeSpan {
    /// How long it is, in milliseconds.
    pub fn length_ms(&self) -> u64 {
        self.end_ms.saturating_sub(self.begin_ms)
    }
}

/// A turn that begins inside another channel's turn and goes on after that one ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interruption {
    /// The channel that interrupts.
    pub channel: u32,
    /// Its role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where its turn begins, in milliseconds of the recording.
    pub begin_ms: u64,
}

/// An object in a JetStream object store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRef {
    /// The bucket.
    pub bucket: String,
    /// The object's name.
    pub name: String,
}

/// What the service charged for. A model has a price per second or per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Billed seconds of audio.
    pub seconds: u64,
    /// Billed tokens of the request; absent where the model has no price per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Billed tokens of the answer; absent where the model has no price per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
}

impl Usage {
    /// So many seconds, and no tokens.
    pub fn seconds(seconds: u64) -> Usage {
        Usage { seconds, ..Usage::default() }
    }

    /// Whether nothing was charged.
    pub fn is_nothing(&self) -> bool {
        self.seconds == 0 && self.input_tokens.unwrap_or(0) == 0 && self.output_tokens.unwrap_or(0) == 0
    }

    /// The larger of each figure: a service repeats its usage in every event of a stream.
    pub fn max(self, other: Usage) -> Usage {
        Usage {
            seconds: self.seconds.max(other.seconds),
            input_tokens: self.input_tokens.max(other.input_tokens),
            output_tokens: self.output_tokens.max(other.output_tokens),
        }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(usages: I) -> Usage {
        let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        usages.fold(Usage::default(), |sum, usage| Usage {
            seconds: sum.seconds.saturating_add(usage.seconds),
            input_tokens: add(sum.input_tokens, usage.input_tokens),
            output_tokens: add(sum.output_tokens, usage.output_tokens),
        })
    }
}

/// `annotation.language` and `annotation.emotion`: one per channel and run of equal values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Annotation {
    /// Channel, from 0.
    pub channel: u32,
    /// The channel's role, where the route names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Begin in milliseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_ms: Option<u64>,
    /// End in milliseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
    /// The language code or the emotion.
    pub value: String,
    /// What the plugin that made it was called with; absent where the daemon made it.
    #[serde(flatten)]
    pub about: About,
}
