//! The emulator of the service.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::programs;
use super::wait::{CEILING, http, wait_until};

/// A running `dashscope-emulator`; it is killed on drop.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    folder: TempDir,
    api: String,
}

impl Emulator {
    /// Starts an emulator with these flags (`dashscope-emulator --help`) and waits until it prints its addresses.
    pub async fn start(flags: &[&str]) -> Emulator {
        Emulator::start_in(tempfile::tempdir().unwrap(), flags).await
    }

    /// As [`Emulator::start`], for an emulator that recognizes the recordings of a manifest as it says.
    pub async fn knowing(manifest: Value, flags: &[&str]) -> Emulator {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        std::fs::write(&path, manifest.to_string()).unwrap();
        let flags = [&["--manifest", path.to_str().unwrap()], flags].concat();
        Emulator::start_in(folder, &flags).await
    }

    async fn start_in(folder: TempDir, flags: &[&str]) -> Emulator {
        let mut command = Command::new(programs::emulator());
        command
            .args(["--listen", "127.0.0.1:0", "--storage-listen", "127.0.0.1:0"])
            .arg("--journal")
            .arg(folder.path().join("journal"))
            // The test owns the data folder, because the emulator is killed at the end and could not remove its own.
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
        Emulator { process, folder, api: ready.unwrap() }
    }

    /// The value for `dashscope.base_url`: up to and including `/api/v1`.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The emulator's journal of requests, oldest first.
    pub fn journal(&self) -> Vec<Value> {
        let path: PathBuf = self.folder.path().join("journal");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // The last line may be incomplete.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The lines of the journal of this kind, oldest first.
    pub fn journal_of(&self, kind: &str) -> Vec<Value> {
        self.journal().into_iter().filter(|line| line["kind"] == kind).collect()
    }

    /// Replaces the emulator's faults; `json!([])` removes them. `dashscope-emulator --help` lists the kinds.
    pub async fn set_faults(&self, faults: Value) {
        let (address, _) = self.api.trim_start_matches("http://").split_once('/').unwrap();
        let answer = http(address.parse().unwrap(), "PUT", "/emulator/faults", &faults.to_string()).await;
        let (status, body) = answer.expect("the emulator answers");
        assert_eq!(status, 200, "{body}");
    }

    /// Sends SIGSTOP: connections stay open and no request is answered.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }
}

fn ready_line(line: &str) -> Option<String> {
    let ready: Value = serde_json::from_str(line).ok()?;
    Some(ready["api"].as_str()?.to_owned())
}
