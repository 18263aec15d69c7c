//! The speech server that recognizes the demo's recordings: one of others, installed for this workspace alone and started on this machine,
//! or the one that the user names.

mod download;
mod install;

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::child::{Child, Output};
use crate::interrupt::Interrupt;
use crate::servers::{KEY, TIME_TO_START};
use crate::workspace::Workspace;

/// The address of the user's own server, as `base_url` of a `[[recognizer]]`.
const VARIABLE: &str = "HARK_SPEECH_SERVER";
/// The model that the user's own server has.
const MODEL_VARIABLE: &str = "HARK_SPEECH_MODEL";
/// OpenAI's name for its only Whisper, which most servers take for their own.
const USUAL_MODEL: &str = "whisper-1";

/// The packages of the speech server cannot be had.
#[derive(Debug)]
pub(crate) struct Unavailable;

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the packages of the speech server cannot be had (pip's reasons are above)\n  cargo xtask demo --emulator  shows all but the \
             recognition, without them\n  {VARIABLE}=URL  names a speech server of your own, {MODEL_VARIABLE}=NAME its model"
        )
    }
}

impl std::error::Error for Unavailable {}

/// A server that can be used.
pub(crate) enum Speech {
    /// The user's own.
    Named { url: String, model: String },
    /// The one in `target/tools`, which is not running yet.
    Installed { serve: PathBuf },
}

impl std::fmt::Display for Speech {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Speech::Named { url, model } => write!(f, "{url} with the model {model}, as {VARIABLE} says"),
            Speech::Installed { serve } => {
                write!(
                    f,
                    "faster-whisper-server with the model {}, on this machine ({})",
                    install::MODEL,
                    serve.display()
                )
            }
        }
    }
}

/// A server that listens. Dropping it ends the one that was started here.
pub(crate) struct Listening {
    /// `base_url` of a `[[recognizer]]`.
    pub(crate) url: String,
    pub(crate) model: String,
    child: Option<Child>,
}

impl Speech {
    /// Whether the user names a server.
    pub(crate) fn is_named() -> bool {
        variable(VARIABLE).is_some()
    }

    /// `$HARK_SPEECH_SERVER`, else the server in `target/tools`, which is installed now if it is absent.
    ///
    /// # Errors
    /// [`Unavailable`] when its packages cannot be had. Packages or a model with other bytes than the pinned ones are another error.
    pub(crate) fn find_or_install(workspace: &Workspace) -> anyhow::Result<Speech> {
        if let Some(url) = variable(VARIABLE) {
            let model = variable(MODEL_VARIABLE).unwrap_or_else(|| USUAL_MODEL.to_owned());
            return Ok(Speech::Named { url: base_url(&url), model });
        }
        Ok(Speech::Installed { serve: install::find_or_install(workspace)? })
    }

    /// Starts the installed server and waits until it listens.
    ///
    /// # Errors
    /// When it ends, or names no address.
    pub(crate) fn start(self, interrupt: &Interrupt) -> anyhow::Result<Listening> {
        let serve = match self {
            Speech::Named { url, model } => return Ok(Listening { url, model, child: None }),
            Speech::Installed { serve } => serve,
        };
        let mut command = Command::new(serve);
        command.env_remove(KEY);
        let mut server = Child::start("the speech server", command, Output::Kept)?;
        let url = interrupt.wait_for(TIME_TO_START, || {
            server.runs()?;
            Ok(server.lines().iter().find_map(|line| address(line)))
        })?;
        let Some(url) = url else { bail!("the speech server named no address:\n{}", server.last_words()) };
        Ok(Listening { url, model: install::MODEL.to_owned(), child: Some(server) })
    }
}

impl Listening {
    /// # Errors
    /// When the server that was started here has ended, with its last output.
    pub(crate) fn runs(&mut self) -> anyhow::Result<()> {
        self.child.as_mut().map_or(Ok(()), Child::runs)
    }

    /// Whether it was started here.
    pub(crate) fn is_ours(&self) -> bool {
        self.child.is_some()
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Clients of OpenAI's API expect `/v1` in the address; a server that is named without a path has it there.
fn base_url(named: &str) -> String {
    let url = named.trim_end_matches('/');
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    if host.contains('/') { url.to_owned() } else { format!("{url}/v1") }
}

/// Reads uvicorn's `INFO:     Uvicorn running on http://127.0.0.1:41431 (Press CTRL+C to quit)`.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("Uvicorn running on ")?;
    Some(format!("{}/v1", rest.split_whitespace().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_address_from_the_servers_log() {
        let line = "INFO:     Uvicorn running on http://127.0.0.1:41431 (Press CTRL+C to quit)";
        assert_eq!(address(line).as_deref(), Some("http://127.0.0.1:41431/v1"));
        assert_eq!(address("INFO:     Waiting for application startup."), None);
    }

    #[test]
    fn completes_an_address_without_a_path() {
        assert_eq!(base_url("http://gpu:8000"), "http://gpu:8000/v1");
        assert_eq!(base_url("http://gpu:8000/"), "http://gpu:8000/v1");
        assert_eq!(base_url("http://gpu:8000/v1/"), "http://gpu:8000/v1");
        assert_eq!(base_url("https://gpu/speech/v1"), "https://gpu/speech/v1");
    }
}
