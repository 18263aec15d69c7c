//! The key of an API, and the file that it came from.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::Error;
use crate::config::Secret;

/// A key that may change while the daemon runs.
#[derive(Debug)]
pub(crate) struct Key {
    key: RwLock<Secret>,
    file: Option<PathBuf>,
}

impl Key {
    pub(crate) fn new(key: Secret, file: Option<PathBuf>) -> Key {
        Key { key: RwLock::new(key), file }
    }

    /// Adds the key to a request.
    pub(crate) fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        let key = self.key.read().unwrap_or_else(PoisonError::into_inner);
        match HeaderValue::from_str(&format!("Bearer {}", key.reveal())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // Sent without a key: the service refuses a missing key as it refuses a bad one, and the queue is held.
            Err(_) => request,
        }
    }

    /// Removes the key from an error, in case the service echoed it.
    pub(crate) fn masked(&self, error: Error) -> Error {
        error.without(self.key.read().unwrap_or_else(PoisonError::into_inner).reveal())
    }

    /// Reads the key's file again, if the key came from a file: the operator may have written a good key. Content that is not a key changes
    /// nothing.
    pub(crate) async fn reread(&self) {
        let Some(path) = &self.file else { return };
        match tokio::fs::read_to_string(path).await {
            Ok(text) => {
                let key = Secret::new(&text);
                if key.is_token() {
                    *self.key.write().unwrap_or_else(PoisonError::into_inner) = key;
                } else {
                    let reason = key.oddity().unwrap_or("is none");
                    tracing::warn!(path = %path.display(), reason, "the API key's file holds no key; keeping the old key");
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the API key's file cannot be read; keeping the old key")
            }
        }
    }
}
