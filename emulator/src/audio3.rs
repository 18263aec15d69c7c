//! What requests and submits of the family `qwen-audio-3.x`, `fun-asr`, `paraformer` have in common: hints, hot words, the word mask, context.

use serde_json::{Map, Value};

use crate::refusal::Refusal;
use crate::text;
use crate::validate::{optional_bool, optional_object, optional_texts, wrong_type};

/// Parameters that the service accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// The only hint, or the first.
    pub language: Option<String>,
    /// Words of the service's own list become asterisks, unless the request switches that off.
    pub is_masked: bool,
}

/// Reads the parameters that both endpoints have. `model`: its name.
pub fn parameters(model: &str, fields: &Map<String, Value>) -> Result<Parameters, Refusal> {
    let hints = optional_texts(fields, "language_hints")?;
    let most = if model.starts_with("fun-asr-flash") { 1 } else { 4 };
    if hints.len() > most {
        return Err(Refusal::invalid(&format!("language_hints supports at most {most} languages")));
    }
    if let Some(hint) = hints.iter().find(|hint| !LANGUAGES.contains(&hint.as_str())) {
        return Err(Refusal::invalid(&format!("Language \"{hint}\" is not supported.")));
    }
    vocabulary(model, fields)?;
    let filter = optional_object(fields, "special_word_filter")?;
    let is_masked = optional_bool(filter, "system_reserved_filter")?.unwrap_or(true);
    Ok(Parameters { language: hints.into_iter().next(), is_masked })
}

/// Hot words in the request itself: a word and its weight.
fn vocabulary(model: &str, fields: &Map<String, Value>) -> Result<(), Refusal> {
    let vocabulary = optional_object(fields, "vocabulary")?;
    if vocabulary.is_empty() {
        return Ok(());
    }
    if !model.starts_with("qwen-audio-") {
        return Err(Refusal::invalid("vocabulary is not supported by this model, use vocabulary_id"));
    }
    let mut strongest = 0;
    for (word, weight) in vocabulary {
        let has_cjk =
            word.chars().any(|letter| text::is_cjk(letter) || ('\u{ac00}'..='\u{d7af}').contains(&letter));
        let fits = match has_cjk {
            true => word.chars().count() <= 15,
            false => word.split_whitespace().count() <= 7,
        };
        if !fits || word.trim().is_empty() {
            return Err(Refusal::invalid(&format!("the hot word \"{word}\" is empty or too long")));
        }
        match weight.as_u64() {
            Some(1..=5) => {}
            Some(50) => strongest += 1,
            _ => return Err(Refusal::invalid("the weight of a hot word should be in [1, 5] or 50")),
        }
    }
    if strongest > 50 {
        return Err(Refusal::invalid("at most 50 hot words have the weight 50"));
    }
    Ok(())
}

/// The text of the turns of context: of the last five, each cut after 400 characters.
pub fn context(turns: &[Value]) -> Result<String, Refusal> {
    let text = |turn: &Value| -> Result<String, Refusal> {
        let wrong =
            || Refusal::invalid("A message of context must have one input_text (user) or text (assistant).");
        let expected = match turn.get("role").and_then(Value::as_str) {
            Some("user") => "input_text",
            Some("assistant") => "text",
            _ => return Err(Refusal::invalid("Role must be in [user, assistant]")),
        };
        let Some([part]) = turn.get("content").and_then(Value::as_array).map(Vec::as_slice) else {
            return Err(wrong());
        };
        if part.get("type").and_then(Value::as_str) != Some(expected) {
            return Err(wrong());
        }
        let text = part.get("text").and_then(Value::as_str).ok_or_else(wrong)?;
        Ok(text.chars().take(CONTEXT_CHARACTERS).collect())
    };
    let texts = turns.iter().map(text).collect::<Result<Vec<String>, Refusal>>()?;
    Ok(texts[texts.len().saturating_sub(CONTEXT_TURNS)..].join("\n"))
}

/// Replaces the words of the service's list by as many asterisks.
pub fn masked(text: &str) -> String {
    MASKED.iter().fold(text.to_owned(), |text, word| text.replace(word, &"*".repeat(word.len())))
}

/// The number of speakers to tell apart that a task names; a hint only.
pub fn speaker_count(fields: &Map<String, Value>) -> Result<(), Refusal> {
    match fields.get("speaker_count") {
        None | Some(Value::Null) => Ok(()),
        Some(count) if count.as_u64().is_some_and(|count| (2..=100).contains(&count)) => Ok(()),
        Some(_) => Err(wrong_type("speaker_count", "int in [2, 100]")),
    }
}

const CONTEXT_CHARACTERS: usize = 400;
const CONTEXT_TURNS: usize = 5;

/// Stands for the service's list of words.
const MASKED: [&str; 1] = ["damn"];

const LANGUAGES: [&str; 30] = [
    "zh", "en", "ja", "ko", "vi", "th", "id", "ms", "tl", "hi", "ar", "fr", "de", "es", "pt", "ru", "it",
    "nl", "sv", "da", "fi", "no", "el", "pl", "cs", "hu", "ro", "bg", "hr", "sk",
];
