//! What a recognizer is told besides the audio: language, context, hot words.

use hark_sdk::event::{Blame, Fault};

use crate::config::{Hotword, Inputs};
use crate::job::fault;

/// What a message or a route says about what is spoken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Hark's code of the language; `None`: detect.
    pub language: Option<String>,
    /// Names, terms, prose that bias the vocabulary; empty: none.
    pub context: String,
    /// Words with weights.
    pub hotwords: Vec<Hotword>,
}

impl Hints {
    /// The hints as a recognizer takes them: words that it does not take as hot words are lines of the context.
    ///
    /// # Errors
    /// The fault for the job's last event, before anything is sent: the model does not take the language, or not that much context.
    pub fn fit(&self, inputs: &Inputs, model: &str) -> Result<Hints, Fault> {
        if let Some(language) = self.language.as_deref().filter(|code| inputs.languages.code(code).is_none())
        {
            let codes: Vec<&str> = inputs.languages.codes().collect();
            let message = format!(
                "the model {model} does not take the language {language:?}; send one of {}, or none to have it detected",
                codes.join(", ")
            );
            return Err(fault("UnknownLanguage", Blame::Audio, message));
        }
        let (context, hotwords) = inputs.divide(&self.context, &self.hotwords);
        if let Some(excess) = inputs.context.excess(&context) {
            let with = if self.hotwords.len() > hotwords.len() { ", with the hot words," } else { "" };
            let message = format!("the context{with} {excess} ({model}); shorten it");
            return Err(fault("ContextTooLong", Blame::Audio, message));
        }
        Ok(Hints { language: self.language.clone(), context, hotwords })
    }

    /// All that the recognizer is told in words: what an answer over silence may repeat.
    pub fn words(&self) -> String {
        let words = self.hotwords.iter().map(|hotword| hotword.word.as_str());
        std::iter::once(self.context.as_str()).chain(words).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Model;

    fn fit(model: &str, hints: &Hints) -> Result<Hints, String> {
        hints
            .fit(&Model::of(model).unwrap().inputs, model)
            .map_err(|fault| format!("{}: {}", fault.code, fault.message))
    }

    #[test]
    fn a_context_is_measured_by_the_models_own_limit() {
        let of = |context: String| Hints { context, ..Hints::default() };
        let long = of("word ".repeat(200));
        assert_eq!(fit("qwen3-asr-flash", &long).unwrap().context.len(), 999);
        let refused = fit("qwen-audio-3.1-asr-flash", &long).unwrap_err();
        assert_eq!(
            refused,
            "ContextTooLong: the context has 999 characters, and the model takes 400 (qwen-audio-3.1-asr-flash); shorten it"
        );
        let refused = fit("qwen3-asr-flash", &of("word ".repeat(10_001))).unwrap_err();
        assert!(refused.starts_with("ContextTooLong: the context has about 20002 tokens"), "{refused}");
        assert_eq!(fit("fun-asr", &long).unwrap(), Hints::default(), "it takes none");
    }

    #[test]
    fn hot_words_count_with_the_context_of_a_model_that_takes_none() {
        let words = vec![Hotword::new(&"好".repeat(15)); 700];
        let hints = Hints { hotwords: words, ..Hints::default() };
        let refused = fit("qwen3-asr-flash", &hints).unwrap_err();
        assert!(refused.contains("the context, with the hot words, has about"), "{refused}");
        assert_eq!(fit("qwen-audio-3.1-asr-flash", &hints).unwrap().hotwords.len(), 700);
    }

    #[test]
    fn a_language_that_the_model_does_not_take_is_refused() {
        let of = |code: &str| Hints { language: Some(code.into()), ..Hints::default() };
        assert_eq!(fit("qwen-audio-3.1-asr-flash", &of("fil")).unwrap().language.as_deref(), Some("fil"));
        let refused = fit("qwen-audio-3.1-asr-flash", &of("yue")).unwrap_err();
        assert!(
            refused.starts_with("UnknownLanguage: the model qwen-audio-3.1-asr-flash does not take"),
            "{refused}"
        );
        assert!(fit("qwen3-asr-flash", &of("nl")).is_err() && fit("qwen3-asr-flash", &of("yue")).is_ok());
    }
}
