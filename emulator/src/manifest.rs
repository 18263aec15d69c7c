//! Texts for known recordings, by the sha256 of their bytes.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The recordings whose text is known.
#[derive(Debug, Default)]
pub struct Manifest {
    recordings: HashMap<String, Recording>,
}

/// The text of one recording. With `sentences` and no `text`, the text is all sentences in order of time.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    pub text: Option<String>,
    pub language: Option<String>,
    pub emotion: Option<String>,
    #[serde(default)]
    pub sentences: Vec<KnownSentence>,
    /// For people who read the manifest; not used.
    #[serde(default, rename = "name")]
    _name: Option<String>,
}

/// One sentence with its times in milliseconds. Without `channel_id` it is spoken on every channel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownSentence {
    pub channel_id: Option<u32>,
    pub speaker_id: Option<u32>,
    pub begin_time: u64,
    pub end_time: u64,
    pub text: String,
    pub language: Option<String>,
    pub emotion: Option<String>,
}

impl Manifest {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> anyhow::Result<Manifest> {
        let text = std::fs::read(path).with_context(|| format!("reading the manifest {}", path.display()))?;
        Manifest::parse(&text).with_context(|| format!("in the manifest {}", path.display()))
    }

    /// The recording with this hash (lower-case hex), if it is known.
    pub fn get(&self, sha256: &str) -> Option<&Recording> {
        self.recordings.get(sha256)
    }

    fn parse(text: &[u8]) -> anyhow::Result<Manifest> {
        let given: HashMap<String, Recording> = serde_json::from_slice(text)?;
        let mut recordings = HashMap::new();
        for (sha256, recording) in given {
            let is_hash = sha256.len() == 64 && sha256.bytes().all(|letter| letter.is_ascii_hexdigit());
            ensure!(is_hash, "\"{sha256}\" is not a sha256 in hex");
            ensure!(
                recording.text.is_some() || !recording.sentences.is_empty(),
                "{sha256} has neither \"text\" nor \"sentences\""
            );
            for sentence in &recording.sentences {
                ensure!(
                    sentence.begin_time <= sentence.end_time,
                    "{sha256}: the sentence at {} ms ends before it begins",
                    sentence.begin_time
                );
            }
            recordings.insert(sha256.to_ascii_lowercase(), recording);
        }
        Ok(Manifest { recordings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_found_by_its_hash_in_any_case() {
        let text = format!(r#"{{"{}": {{"text": "hello", "language": "en"}}}}"#, "AB".repeat(32));
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.get(&"ab".repeat(32)).unwrap().text.as_deref(), Some("hello"));
    }

    #[test]
    fn mistakes_are_named() {
        let message = format!("{:#}", Manifest::parse(br#"{"call.wav": {"text": "x"}}"#).unwrap_err());
        assert!(message.contains("call.wav"), "{message}");
        let unknown = format!(r#"{{"{}": {{"txt": "x"}}}}"#, "a".repeat(64));
        let message = format!("{:#}", Manifest::parse(unknown.as_bytes()).unwrap_err());
        assert!(message.contains("txt"), "{message}");
    }
}
