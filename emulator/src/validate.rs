//! Checks that both engines share.

use serde_json::{Map, Value};

use crate::journal::Entry;
use crate::refusal::Refusal;
use crate::service::{Engine, Service};
use crate::text;

/// The service's limit on context.
pub const CONTEXT_TOKENS: usize = 10_000;

/// The body as a JSON object.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::invalid("Request body format invalid"))
}

/// The model must exist and belong to the engine of this endpoint.
pub fn model(
    service: &Service,
    entry: &mut Entry,
    body: &Map<String, Value>,
    endpoint: Engine,
) -> Result<String, Refusal> {
    let model = match body.get("model") {
        Some(Value::String(model)) if !model.is_empty() => model.clone(),
        _ => return Err(Refusal::missing("BadRequest.EmptyModel", "model")),
    };
    entry.model = Some(model.clone());
    match service.model(&model) {
        Some(found) if found.engine == endpoint => Ok(model),
        Some(_) => Err(Refusal::wrong_endpoint()),
        None => Err(Refusal::unknown_model()),
    }
}

/// A field that is an object or absent; absent reads as an empty one.
pub fn optional_object<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
) -> Result<&'a Map<String, Value>, Refusal> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match fields.get(name) {
        Some(Value::Object(object)) => Ok(object),
        None | Some(Value::Null) => Ok(&EMPTY),
        Some(_) => Err(wrong_type(name, "object")),
    }
}

pub fn optional_bool(fields: &Map<String, Value>, name: &str) -> Result<Option<bool>, Refusal> {
    match fields.get(name) {
        Some(Value::Bool(value)) => Ok(Some(*value)),
        None | Some(Value::Null) => Ok(None),
        Some(_) => Err(wrong_type(name, "bool")),
    }
}

/// The field `language`, one of the service's codes.
pub fn language(fields: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match fields.get("language") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(language)) if LANGUAGES.contains(&language.as_str()) => Ok(Some(language.clone())),
        Some(Value::String(language)) => {
            Err(Refusal::invalid(&format!("Language \"{language}\" is not supported.")))
        }
        Some(_) => Err(wrong_type("language", "string")),
    }
}

/// A field that is a list of texts, or absent.
pub fn optional_texts(fields: &Map<String, Value>, name: &str) -> Result<Vec<String>, Refusal> {
    let texts = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(texts)) => texts,
        Some(_) => return Err(wrong_type(name, "array")),
    };
    let text =
        |text: &Value| text.as_str().map(str::to_owned).ok_or_else(|| wrong_type(name, "array of strings"));
    texts.iter().map(text).collect()
}

/// A number of tokens that no tokenizer would undercut: words, and CJK characters by themselves.
pub fn tokens_at_least(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| word.chars().filter(|letter| text::is_cjk(*letter)).count().max(1))
        .sum()
}

pub fn wrong_type(name: &str, expected: &str) -> Refusal {
    Refusal::invalid(&format!("parameters.{name} should be of type {expected}"))
}

const LANGUAGES: [&str; 27] = [
    "zh", "yue", "en", "ja", "de", "ko", "ru", "fr", "pt", "ar", "it", "es", "hi", "id", "th", "tr", "uk",
    "vi", "cs", "da", "fil", "fi", "is", "ms", "no", "pl", "sv",
];
