//! The service's models. A model's name tells its family, and the family what the model takes and returns (the provider's documentation).

use super::context::ContextLimit;
use super::hotword::Hotword;
use super::language::Languages;

/// How requests to a model and its answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `qwen3-asr-…`.
    Qwen3,
    /// `qwen-audio-3.x-asr-…`, `fun-asr…` and `paraformer…`.
    Audio3,
}

/// A model of the service, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    pub family: Family,
    /// Its requests become tasks (`filetrans`); otherwise they are answered at once (`flash`).
    pub is_task: bool,
    /// It is served in the US region.
    pub in_us: bool,
    pub inputs: Inputs,
    pub outputs: Outputs,
}

/// What a recognizer accepts besides the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inputs {
    pub languages: Languages,
    pub context: ContextLimit,
    /// Words with weights; a recognizer without them gets the words in the context.
    pub hotwords: bool,
    /// Numbers as digits, if asked for.
    pub itn: bool,
}

/// What a recognizer returns besides the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outputs {
    /// The language and the emotion of the speech.
    pub annotations: bool,
    /// The times of words.
    pub words: bool,
    /// Who speaks.
    pub speakers: bool,
}

impl Inputs {
    /// Divides context and hot words by what the recognizer supports: a word that it does not support as a hot word becomes a line of the
    /// context. A recognizer without context gets only the hot words that it supports.
    pub fn divide(&self, context: &str, hotwords: &[Hotword]) -> (String, Vec<Hotword>) {
        let (words, others): (Vec<Hotword>, Vec<Hotword>) =
            hotwords.iter().cloned().partition(|hotword| self.hotwords && hotword.is_short());
        if self.context == ContextLimit::NoContext {
            return (String::new(), words);
        }
        let context = Some(context.trim_end()).filter(|context| !context.is_empty());
        let lines: Vec<&str> =
            context.into_iter().chain(others.iter().map(|other| other.word.as_str())).collect();
        (lines.join("\n"), words)
    }
}

const OF_QWEN3: Inputs =
    Inputs { languages: Languages::Qwen3, context: ContextLimit::Tokens(10_000), hotwords: false, itn: true };
/// Earlier messages of at most 400 characters a turn (the provider's documentation). The limit of tasks is not documented; the same is
/// assumed.
const OF_QWEN_AUDIO: Inputs = Inputs {
    languages: Languages::Audio3,
    context: ContextLimit::Characters(400),
    hotwords: true,
    itn: false,
};
/// Inputs hot words only as a vocabulary that was compiled before.
const OF_FUN_ASR_FLASH: Inputs = Inputs { hotwords: false, ..OF_QWEN_AUDIO };
const OF_FUN_ASR: Inputs = Inputs { context: ContextLimit::NoContext, ..OF_FUN_ASR_FLASH };

impl Model {
    /// `qwen3-asr-flash`.
    pub const QWEN3_FLASH: Model = Model::qwen3(false);
    /// `qwen3-asr-flash-filetrans`.
    pub const QWEN3_FILETRANS: Model = Model::qwen3(true);

    /// The model of this name; `None`: the name is of no family.
    pub fn of(name: &str) -> Option<Model> {
        let stem = without_snapshot(name);
        // Of the WebSocket services.
        if ["realtime", "streaming", "message"].iter().any(|live| stem.contains(live)) {
            return None;
        }
        if let Some(rest) = stem.strip_prefix("qwen3-asr-") {
            return Some(Model::qwen3(rest.ends_with("filetrans")));
        }
        if let Some(rest) = stem.strip_prefix("qwen-audio-3.") {
            let (minor, kind) = rest.split_once('-')?;
            let minor: u32 = minor.parse().ok()?;
            return match kind {
                // 3.0 does not tell speakers apart.
                "asr-flash" => Some(Model::audio3(false, OF_QWEN_AUDIO, minor >= 1)),
                "asr-flash-filetrans" => Some(Model::audio3(true, OF_QWEN_AUDIO, true)),
                _ => None,
            };
        }
        match stem {
            "fun-asr-flash" => Some(Model::audio3(false, OF_FUN_ASR_FLASH, false)),
            "fun-asr" | "fun-asr-mtl" => Some(Model::audio3(true, OF_FUN_ASR, true)),
            _ if stem.starts_with("paraformer-") => Some(Model::audio3(true, OF_FUN_ASR, true)),
            _ => None,
        }
    }

    const fn qwen3(is_task: bool) -> Model {
        let outputs = Outputs { annotations: true, words: is_task, speakers: false };
        Model { family: Family::Qwen3, is_task, in_us: !is_task, inputs: OF_QWEN3, outputs }
    }

    fn audio3(is_task: bool, inputs: Inputs, speakers: bool) -> Model {
        let outputs = Outputs { annotations: false, words: true, speakers };
        Model { family: Family::Audio3, is_task, in_us: false, inputs, outputs }
    }
}

/// The name without its snapshot date and its region: without `-2025-09-08` and `-us`.
fn without_snapshot(name: &str) -> &str {
    let name = name.strip_suffix("-us").unwrap_or(name);
    let is_date = |date: &str| {
        let mut digits = date.bytes().enumerate();
        digits.all(|(at, byte)| if [0, 5, 8].contains(&at) { byte == b'-' } else { byte.is_ascii_digit() })
    };
    let date = name.len().checked_sub("-2025-09-08".len());
    match date.and_then(|at| name.split_at_checked(at)) {
        Some((stem, date)) if is_date(date) => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_hot_word_to_the_model_is_a_line_of_its_context() {
        let words = [Hotword::new("Hark"), Hotword::new("one two three four five six seven eight")];
        let divided = |name: &str, context: &str| {
            let (context, words) = Model::of(name).unwrap().inputs.divide(context, &words);
            (context, words.len())
        };
        let (all, long) = (
            "calls\nHark\none two three four five six seven eight",
            "one two three four five six seven eight",
        );
        assert_eq!(divided("qwen3-asr-flash", "calls\n"), (all.to_owned(), 0));
        assert_eq!(divided("qwen-audio-3.1-asr-flash", ""), (long.to_owned(), 1));
        assert_eq!(divided("fun-asr", "calls"), (String::new(), 0));
    }

    #[test]
    fn the_family_follows_from_the_name() {
        for (name, family, is_task, speakers, hotwords) in [
            ("qwen3-asr-flash", Family::Qwen3, false, false, false),
            ("qwen3-asr-flash-us", Family::Qwen3, false, false, false),
            ("qwen3-asr-flash-2025-09-08-us", Family::Qwen3, false, false, false),
            ("qwen3-asr-flash-filetrans-2025-11-17", Family::Qwen3, true, false, false),
            ("qwen-audio-3.0-asr-flash", Family::Audio3, false, false, true),
            ("qwen-audio-3.1-asr-flash", Family::Audio3, false, true, true),
            ("qwen-audio-3.1-asr-flash-2026-09-01", Family::Audio3, false, true, true),
            ("qwen-audio-3.12-asr-flash-filetrans", Family::Audio3, true, true, true),
            ("fun-asr-flash-2026-06-15", Family::Audio3, false, false, false),
            ("fun-asr", Family::Audio3, true, true, false),
            ("fun-asr-mtl-2025-08-25", Family::Audio3, true, true, false),
            ("paraformer-v2", Family::Audio3, true, true, false),
        ] {
            let model = Model::of(name).unwrap_or_else(|| panic!("{name}"));
            let found = (model.family, model.is_task, model.outputs.speakers, model.inputs.hotwords);
            assert_eq!(found, (family, is_task, speakers, hotwords), "{name}");
        }
        for name in [
            "",
            "qwen9-asr",
            "qwen3-asr-flash-realtime",
            "qwen-audio-3.1-asr-flash-streaming",
            "qwen-audio-3.x-asr-flash",
            "qwen-audio-3.1-tts-flash",
            "fun-asr-realtime-2026-02-28",
            "whisper-1",
            "日本語の名前の長いもの",
        ] {
            assert_eq!(Model::of(name), None, "{name}");
        }
    }
}
