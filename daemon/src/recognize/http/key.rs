//! The key of an API, and the file that it came from.

use std::path::PathBuf;

use parking_lot::RwLock;
use reqwest::RequestBuilder;

use super::Error;
use crate::config::Secret;

/// A key that may change while the daemon runs.
#[derive(Debug)]
pub struct Key {
    key: RwLock<Secret>,
    file: RwLock<Option<PathBuf>>,
}

impl Key {
    pub(crate) fn new(key: Secret, file: Option<PathBuf>) -> Key {
        Key { key: RwLock::new(key), file: RwLock::new(file) }
    }

    /// Puts the key of another config in the place of this one.
    pub(crate) fn replace(&self, key: Secret, file: Option<PathBuf>) {
        *self.file.write() = file;
        *self.key.write() = key;
    }

    /// Adds the key to a request, if there is one.
    pub(crate) fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match self.key.read().reveal() {
            "" => request,
            key => request.bearer_auth(key),
        }
    }

    /// Removes the key from an error, in case the service echoed it.
    pub(crate) fn masked(&self, mut error: Error) -> Error {
        let key = self.key.read();
        if !key.reveal().is_empty() {
            error.fault.message = error.fault.message.replace(key.reveal(), "***");
        }
        error
    }

    /// Reads the key's file again, if the key came from a file: the operator may have written a good key. Content that is not a key changes
    /// nothing.
    pub(crate) async fn reread(&self) {
        let Some(path) = self.file.read().clone() else { return };
        let reason = match tokio::fs::read_to_string(&path).await.map(|text| Secret::new(&text)) {
            Ok(key) if key.is_token() => {
                *self.key.write() = key;
                return;
            }
            Ok(key) => key.oddity().unwrap_or("holds no key").to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(path = %path.display(), reason, "the API key's file has no key that can be read; keeping the old key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_key_is_masked_whatever_it_looks_like() {
        let key = Key::new(Secret::new("canary"), None);
        let error = key.masked(Error::unreadable("no such key: canary"));
        assert_eq!(error.fault.message, "no such key: ***");
    }
}
