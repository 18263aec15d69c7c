//! The stand-in for the service.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::programs;
use super::wait::{CEILING, http, wait_until};

/// A running `dashscope-emulator`; gone when it is dropped.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    folder: TempDir,
    api: String,
    storage: String,
}

impl Emulator {
    /// Starts one with these flags (`dashscope-emulator --help`) and waits until it says where it listens.
    pub async fn start(flags: &[&str]) -> Emulator {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(programs::emulator());
        command
            .args(["--listen", "127.0.0.1:0", "--storage-listen", "127.0.0.1:0"])
            .arg("--journal")
            .arg(folder.path().join("journal"))
            // Killed at the end, it could not remove a folder of its own.
            .arg("--data")
            .arg(folder.path().join("data"))
            .args(flags);
        let mut process = Process::start("dashscope-emulator", &mut command, folder.path());
        let mut ready = None;
        wait_until("the emulator to say where it listens", CEILING, async || {
            assert!(process.is_running(), "the emulator ended: {}", process.log());
            ready = process.log().lines().find_map(ready_line);
            ready.is_some()
        })
        .await;
        let (api, storage) = ready.unwrap();
        Emulator { process, folder, api, storage }
    }

    /// What `dashscope.base_url` has to be: up to and including `/api/v1`.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// Where uploads and result files are.
    pub fn storage(&self) -> &str {
        &self.storage
    }

    /// Every request as the service saw it, oldest first.
    pub fn journal(&self) -> Vec<Value> {
        let path: PathBuf = self.folder.path().join("journal");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What it does wrong from now on, in place of all faults before; `json!([])` ends them. The kinds: `dashscope-emulator --help`.
    pub async fn set_faults(&self, faults: Value) {
        let (address, _) = self.api.trim_start_matches("http://").split_once('/').unwrap();
        let answer = http(address.parse().unwrap(), "PUT", "/emulator/faults", &faults.to_string()).await;
        let (status, body) = answer.expect("the emulator answers");
        assert_eq!(status, 200, "{body}");
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// SIGKILL: connections are reset.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

fn ready_line(line: &str) -> Option<(String, String)> {
    let ready: Value = serde_json::from_str(line).ok()?;
    Some((ready["api"].as_str()?.to_owned(), ready["storage"].as_str()?.to_owned()))
}
