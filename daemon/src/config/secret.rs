//! A value that is never printed.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Serialize, Serializer};

/// A key or password. Debug, Display and Serialize show `***`; [`Secret::reveal`] is the one way to the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret; surrounding white space (a file's last newline) is removed.
    pub fn new(text: &str) -> Self {
        Secret(text.trim().to_owned())
    }

    /// What is odd about the text of the file, as the end of a sentence, if it seems to hold more than the secret, such as quotation marks.
    pub fn oddity(&self) -> Option<&'static str> {
        let text = self.0.strip_prefix("export ").unwrap_or(&self.0).trim_start();
        let assigned = text.split_once('=').is_some_and(|(name, value)| {
            // A password may contain an equals sign, so the name has to be one of a secret.
            let name = name.trim_end().to_ascii_lowercase();
            let is_secrets =
                ["key", "token", "password", "secret", "seed"].iter().any(|word| name.ends_with(word));
            is_secrets && !value.trim_start_matches('=').is_empty()
        });
        if ['"', '\'', '`']
            .iter()
            .any(|&quote| self.0.len() > 1 && self.0.starts_with(quote) && self.0.ends_with(quote))
        {
            Some("has quotation marks around it; the file holds the bare text")
        } else if self.0.contains('\n') {
            Some("has several lines; the file holds one")
        } else if self.0.starts_with('\u{feff}') {
            Some("begins with a byte order mark; save it as UTF-8 without one")
        } else if assigned {
            Some("is an assignment, NAME=value; the file holds the value alone")
        } else if self.0.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case("bearer ")) {
            Some("begins with the word Bearer; the file holds the key alone")
        } else {
            None
        }
    }

    /// Whether the text may be sent as a key: HTTP has to accept it as a token.
    pub fn is_token(&self) -> bool {
        let body = self.0.trim_end_matches('=');
        !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
    }

    /// The token in a file that `key` of the config names.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read or holds no token.
    pub fn token_in(path: &Path, key: &str) -> Result<Secret, String> {
        let shown = path.display();
        let text =
            fs::read_to_string(path).map_err(|error| format!("{key} {shown} cannot be read: {error}"))?;
        let token = Secret::new(&text);
        if !token.is_token() {
            return Err(format!(
                "{key} {shown} holds no token; write letters, digits and -._~+/ on one line"
            ));
        }
        Ok(token)
    }

    /// The text itself, for the one header or handshake that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
