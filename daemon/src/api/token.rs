//! The tokens that the page and the API ask for.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::info;

use crate::config::{Http, Secret};
use crate::hex::hex;
use crate::os::private;

/// The file below the state directory in which the daemon keeps the token that it made.
pub const FILE: &str = "http_token";

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rights {
    /// Look and listen.
    Read,
    /// Steer too.
    Steer,
}

/// The tokens, as digests: comparing digests tells nothing about where two tokens differ.
#[derive(Debug)]
pub struct Tokens {
    steer: [u8; 32],
    read: Option<[u8; 32]>,
}

impl Tokens {
    /// Reads the files of the config; without `http.token_file` the daemon makes a token in its state directory and names the file in the log.
    ///
    /// # Errors
    /// A sentence that names the file and the key.
    pub fn load(http: &Http, state_directory: &Path) -> Result<Tokens, String> {
        let steer = if http.token_file.as_os_str().is_empty() {
            let path = state_directory.join(FILE);
            let token = own(&path).map_err(|error| {
                format!("the token's file {} cannot be made: {error}; set http.token_file", path.display())
            })?;
            info!(path = %path.display(), "the live page and the API ask for the token in this file");
            token
        } else {
            Secret::token_in(&http.token_file, "http.token_file")?
        };
        let read = match http.read_token_file.as_os_str().is_empty() {
            true => None,
            false => Some(Secret::token_in(&http.read_token_file, "http.read_token_file")?),
        };
        Ok(Tokens { steer: digest(steer.reveal()), read: read.map(|token| digest(token.reveal())) })
    }

    /// What a token permits; `None`: it is none of the daemon's.
    pub fn rights(&self, token: &str) -> Option<Rights> {
        let given = digest(token.trim());
        self.of(|known| given == *known)
    }

    /// The value of the cookie for a token. It is computed from the token: it stays valid over restarts, and becomes invalid with the token.
    pub fn session(&self, token: &str) -> Option<String> {
        self.rights(token).map(|_| session(&digest(token.trim())))
    }

    /// What a cookie permits.
    pub fn rights_of_session(&self, cookie: &str) -> Option<Rights> {
        let given = digest(cookie);
        self.of(|known| given == digest(&session(known)))
    }

    fn of(&self, is_it: impl Fn(&[u8; 32]) -> bool) -> Option<Rights> {
        if is_it(&self.steer) { Some(Rights::Steer) } else { self.read.filter(is_it).map(|_| Rights::Read) }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn session(token: &[u8; 32]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"session of hark\0");
    hasher.update(token);
    hex(&hasher.finalize())
}

/// The token that the daemon made at an earlier start, or a new one.
fn own(path: &Path) -> io::Result<Secret> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(&text)),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut random = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|error| io::Error::other(format!("{error:?}")))?;
    let token = hex(&random);
    let mut file = private::create_file(path)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    file.sync_all()?;
    Ok(Secret::new(&token))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_token_that_the_daemon_made_stays_and_is_private() {
        let state = tempfile::tempdir().unwrap();
        let http = Config::default().http;
        let path = state.path().join(FILE);
        let first = Tokens::load(&http, state.path()).unwrap();
        let token = fs::read_to_string(&path).unwrap();
        assert_eq!(token.trim().len(), 64);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first.rights(&token), Some(Rights::Steer));
        let second = Tokens::load(&http, state.path()).unwrap();
        let cookie = first.session(&token).unwrap();
        assert_eq!(second.rights_of_session(&cookie), Some(Rights::Steer), "after a restart");
        assert_eq!(second.rights("guess"), None);
        assert_eq!(second.rights_of_session(token.trim()), None, "a token is no cookie");
        assert!(!format!("{first:?}").contains(token.trim()));
    }

    #[test]
    fn a_read_token_may_look_and_not_steer() {
        let state = tempfile::tempdir().unwrap();
        let read = state.path().join("read");
        fs::write(&read, "looker\n").unwrap();
        let http = Http { read_token_file: read, ..Config::default().http };
        let tokens = Tokens::load(&http, state.path()).unwrap();
        assert_eq!(tokens.rights("looker"), Some(Rights::Read));
        let cookie = tokens.session("looker").unwrap();
        assert_eq!(tokens.rights_of_session(&cookie), Some(Rights::Read));
    }

    #[test]
    fn a_file_that_holds_no_token_is_named() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("empty");
        fs::write(&file, "\n").unwrap();
        let http = Http { token_file: file, ..Config::default().http };
        let error = Tokens::load(&http, state.path()).unwrap_err();
        assert!(error.contains("http.token_file") && error.contains("empty"), "{error}");
    }
}
