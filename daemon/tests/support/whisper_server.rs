//! A speech server of others that really recognizes: the one that `cargo xtask tools` installed, or the operator's own.

use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::programs;
use super::wait::{CEILING, wait_until};

/// A speech server that listens; one that was started here is killed on drop.
#[derive(Debug)]
pub struct WhisperServer {
    // Declared before the folder, so that the process is killed first.
    _process: Option<Process>,
    _folder: TempDir,
    url: String,
    model: String,
}

impl WhisperServer {
    /// `$HARK_SPEECH_SERVER`, else the installed one, started on a free port. `None` if it is not installed: then the caller returns, and
    /// the test counts as passed although nothing was tested, which a line says. With `HARK_TESTS_ALL` that is a failure.
    pub async fn start(test: &str) -> Option<WhisperServer> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(url) = variable("HARK_SPEECH_SERVER") {
            let model = variable("HARK_SPEECH_MODEL").unwrap_or_else(|| "whisper-1".into());
            return Some(WhisperServer { _process: None, _folder: folder, url: base_url(&url), model });
        }
        let program = programs::whisper_server();
        if !program.exists() {
            programs::skip(&format!("{test}: no speech server; run: cargo xtask tools"));
            return None;
        }
        let mut command = Command::new(program);
        // Other tests run meanwhile, and have timers. Fewer threads take no more processor time.
        command.env("OMP_NUM_THREADS", "1");
        let mut process = Process::start("speech-server", &mut command, folder.path());
        let mut url = None;
        // It imports much before it listens, and the machine may be busy.
        wait_until("the speech server to listen", 3 * CEILING, async || {
            assert!(process.is_running(), "the speech server ended: {}", process.log());
            url = process.log().lines().find_map(address);
            url.is_some()
        })
        .await;
        let model = "whisper-base".into();
        Some(WhisperServer { _process: Some(process), _folder: folder, url: url.unwrap(), model })
    }

    /// The value for a recognizer's `base_url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn model(&self) -> &str {
        &self.model
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// As the demo reads it: without a path it is `/v1`.
fn base_url(named: &str) -> String {
    let url = named.trim_end_matches('/');
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    if host.contains('/') { url.to_owned() } else { format!("{url}/v1") }
}

/// From `INFO:     Uvicorn running on http://127.0.0.1:41431 (Press CTRL+C to quit)`.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("Uvicorn running on ")?;
    Some(format!("{}/v1", rest.split_whitespace().next()?))
}
