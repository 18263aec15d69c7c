//! `[[webhook]]`: a receiver of events over HTTP.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hark_sdk::event::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// What a secret of the Standard Webhooks scheme begins with.
const PREFIX: &str = "whsec_";

/// The scheme asks for keys of at least this many bytes.
pub(super) const SHORTEST_KEY: usize = 24;

/// One `[[webhook]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    pub name: String,
    pub url: String,
    /// Kinds of stored events, as in `transcript.final`.
    pub kinds: Vec<String>,
    /// Empty: all.
    pub sources: Vec<String>,
    /// One `whsec_…`, or two while a key is changed: the old and the new one, each on a line of its own.
    pub secret_file: PathBuf,
}

impl Default for Webhook {
    fn default() -> Self {
        Webhook {
            name: String::new(),
            url: String::new(),
            kinds: vec![Kind::TranscriptFinal.to_string(), Kind::AlertRaised.to_string()],
            sources: Vec::new(),
            secret_file: PathBuf::new(),
        }
    }
}

impl Webhook {
    /// The secrets that sign its requests, one or two, read now.
    ///
    /// # Errors
    /// A sentence that names the file, never its content.
    pub fn secrets(&self) -> Result<Vec<Secret>, String> {
        let path = self.secret_file.display();
        let text = std::fs::read_to_string(&self.secret_file).map_err(|error| {
            format!("secret_file {path} of webhook {:?} cannot be read: {error}", self.name)
        })?;
        let secrets: Vec<Secret> =
            text.lines().map(Secret::new).filter(|secret| !secret.reveal().is_empty()).collect();
        let count = secrets.len();
        if !(1..=2).contains(&count) {
            return Err(format!(
                "secret_file {path} of webhook {:?} has {count} lines; it holds one {PREFIX}…, or two while a key is changed",
                self.name
            ));
        }
        if secrets.iter().any(|secret| signing_key(secret).is_none()) {
            return Err(format!(
                "secret_file {path} of webhook {:?} has a line that is no secret of the Standard Webhooks scheme; write {PREFIX} and a key in \
                 base64, as `echo {PREFIX}$(head -c 32 /dev/urandom | base64)` makes one",
                self.name
            ));
        }
        Ok(secrets)
    }
}

/// The bytes that a secret signs with; `None` if it is no secret of the scheme.
pub fn signing_key(secret: &Secret) -> Option<Vec<u8>> {
    let key = secret.reveal().strip_prefix(PREFIX)?.trim_end_matches('=');
    STANDARD_NO_PAD.decode(key).ok().filter(|key| !key.is_empty())
}
