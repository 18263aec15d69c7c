//! The daemon as a process, in its own folder.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tempfile::TempDir;

use super::api::Api;
use super::events::{Ear, ReceivedEvent};
use super::process::Process;
use super::programs;
use super::setup::Setup;
use super::small_disk::SmallDisk;
use super::wait::{CEILING, http_get, wait_until};

/// A running `harkd run`; on drop it is killed and its folder is removed. If the test panics, its log is printed.
#[derive(Debug)]
pub struct Hark {
    process: Process,
    // Declared before the folder, so that disks are unmounted before the folder is removed.
    disks: HashMap<String, SmallDisk>,
    folder: TempDir,
    http: SocketAddr,
    environment: HashMap<String, String>,
    ear: Ear,
    given: HashMap<String, usize>,
}

impl Hark {
    /// A setup without sources, with short waits and unlimited rates, so that tests are quick.
    #[allow(clippy::new_ret_no_self, reason = "`Hark::new().folder(…).start()` reads as what it is")]
    pub fn new() -> Setup {
        Setup::new()
    }

    /// Starts the daemon of a setup whose config is written. `ear` hears its events.
    pub(super) fn launched(
        folder: TempDir,
        disks: HashMap<String, SmallDisk>,
        http: SocketAddr,
        environment: HashMap<String, String>,
        ear: Ear,
    ) -> Hark {
        let process = launch(folder.path(), &environment);
        Hark { process, disks, folder, http, environment, ear, given: HashMap::new() }
    }

    /// Writes a file into a watched folder, under another name first, so that the daemon sees the whole file or none.
    pub fn drop_file(&self, folder: &str, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(folder).join(name);
        let part = path.with_file_name(format!(".{name}.part"));
        std::fs::write(&part, bytes).unwrap();
        std::fs::rename(&part, &path).unwrap();
        path
    }

    /// A path in the daemon's folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// The file that `--config` names.
    pub fn config_file(&self) -> PathBuf {
        self.path("harkd.toml")
    }

    /// Waits for the next event of this kind, e.g. `transcript.final`, that no earlier call has returned; also for partials.
    pub async fn next_event(&mut self, kind: &str) -> ReceivedEvent {
        let position = self.given.get(kind).copied().unwrap_or(0);
        let mut found = None;
        let (ear, process) = (&mut self.ear, &mut self.process);
        wait_until(&format!("an event {kind}"), CEILING, async || {
            let heard =
                if kind == "transcript.partial" { ear.partials() } else { ear.stored().await.to_vec() };
            found = heard.into_iter().filter(|event| event.kind() == kind).nth(position);
            assert!(found.is_some() || process.is_running(), "harkd ended while {kind} was waited for");
            found.is_some()
        })
        .await;
        self.given.insert(kind.to_owned(), position + 1);
        found.unwrap()
    }

    /// The stored events of one job, up to now.
    pub async fn events_of(&mut self, job: &str) -> Vec<ReceivedEvent> {
        self.ear.stored().await.iter().filter(|event| event.job() == job).cloned().collect()
    }

    /// All stored events, up to now.
    pub async fn events(&mut self) -> Vec<ReceivedEvent> {
        self.ear.stored().await.to_vec()
    }

    /// The partials, up to now.
    pub fn partials(&self) -> Vec<ReceivedEvent> {
        self.ear.partials()
    }

    /// Waits until this many jobs have had their last event, and returns those events.
    pub async fn ended_jobs(&mut self, count: usize) -> Vec<ReceivedEvent> {
        let mut ended = Vec::new();
        let ear = &mut self.ear;
        wait_until(&format!("the end of {count} jobs"), CEILING, async || {
            ended = ear.stored().await.iter().filter(|event| is_last(event)).cloned().collect::<Vec<_>>();
            ended.len() >= count
        })
        .await;
        ended
    }

    /// The disk of a folder that was set up with [`Setup::small_disk`].
    pub fn disk(&self, folder: &str) -> &SmallDisk {
        &self.disks[folder]
    }

    /// Status and body of `/metrics`, `/healthz` or `/readyz`.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        http_get(self.http, path).await
    }

    /// The daemon's live page and API, as the holder of its own token.
    pub fn api(&self) -> Api {
        let token = std::fs::read_to_string(self.path("state/http_token")).unwrap();
        Api::new(self.http, token.trim())
    }

    /// The daemon's log, over restarts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends SIGTERM, waits, and returns the exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.terminate(CEILING).await
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Changes the config's file, sends SIGHUP, and waits until the reload has ended; returns what the log says of it.
    pub async fn reload(&mut self, edit: impl FnOnce(String) -> String) -> String {
        let (before, logged) = (self.reloads().await, self.log().len());
        let text = std::fs::read_to_string(self.config_file()).unwrap();
        std::fs::write(self.config_file(), edit(text)).unwrap();
        self.process.reload();
        wait_until("the reload to end", CEILING, async || {
            assert!(self.process.is_running(), "harkd ended");
            self.reloads().await > before
        })
        .await;
        self.log()[logged..].to_owned()
    }

    /// How many reloads have ended.
    async fn reloads(&self) -> u64 {
        let page = self.get("/metrics").await.map(|(_, page)| page).unwrap_or_default();
        let counts = page.lines().filter_map(|line| {
            line.strip_prefix("hark_config_reloads_total{")?.rsplit(' ').next()?.parse::<u64>().ok()
        });
        counts.sum()
    }

    /// Kills the daemon if it runs, starts it again with the same config and state, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.kill_and_launch();
        self.ready().await;
    }

    /// Kills the daemon and starts it again at once, with the same config and state. Does not wait until it is ready: see [`Hark::ready`].
    pub fn kill_and_launch(&mut self) {
        self.process.kill();
        self.process = launch(self.folder.path(), &self.environment);
    }

    /// Another command of `harkd` with the same config, e.g. `["tail", "--json"]`; the caller starts it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::harkd());
        command.arg("--config").arg(self.config_file()).args(arguments);
        command
    }

    /// Waits until `/readyz` answers 503 with this in its reasons. The slowest reason, a source whose requests return nothing, takes two
    /// requests of 15 s each.
    pub async fn not_ready(&mut self, reason: &str) {
        let (process, http) = (&mut self.process, self.http);
        wait_until(&format!("/readyz to say {reason:?}"), 3 * CEILING, async || {
            assert!(process.is_running(), "harkd ended");
            let answer = http_get(http, "/readyz").await;
            matches!(answer, Some((503, body)) if body.contains(reason))
        })
        .await;
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&mut self) {
        let (process, http) = (&mut self.process, self.http);
        wait_until("harkd to be ready", CEILING, async || {
            assert!(process.is_running(), "harkd ended before it was ready");
            matches!(http_get(http, "/readyz").await, Some((200, _)))
        })
        .await;
    }
}

fn launch(folder: &Path, environment: &HashMap<String, String>) -> Process {
    let mut command = Command::new(programs::harkd());
    command.env_remove("DASHSCOPE_API_KEY");
    command.arg("--config").arg(folder.join("harkd.toml")).arg("run").envs(environment);
    Process::start("harkd", &mut command, folder)
}

fn is_last(event: &ReceivedEvent) -> bool {
    matches!(event.kind(), "job.completed" | "job.failed")
}
