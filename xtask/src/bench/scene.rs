//! What a contender runs with: servers of its own, and a folder that is removed with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::Bench;
use super::tree::Tree;
use crate::child::{Child, Output};
use crate::servers::{self, KEY, TIME_TO_START};

/// No measurement takes as long, on any machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// How long a process is observed to see whether it still works.
const QUIET: Duration = Duration::from_millis(300);

/// NATS and the emulator; dropping this ends them, and removes the folder last.
pub(super) struct Scene<'a> {
    pub(super) api: String,
    pub(super) nats: String,
    bench: &'a Bench<'a>,
    emulator: Child,
    nats_server: Child,
    folder: TempDir,
}

/// The settings of harkd that differ between rows.
pub(super) struct Setup {
    pub(super) engine: &'static str,
    pub(super) concurrency: usize,
    pub(super) plugin: bool,
    /// 0: no limit.
    pub(super) requests_per_minute: u32,
    /// More settings of the route.
    pub(super) route: &'static str,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { engine: "auto", concurrency: 32, plugin: false, requests_per_minute: 0, route: "" }
    }
}

/// harkd, the bare loop, the script: what is measured.
pub(super) struct Player<'a> {
    bench: &'a Bench<'a>,
    child: Child,
    lines: Receiver<String>,
}

impl<'a> Scene<'a> {
    /// `emulator`: its options.
    pub(super) fn set(bench: &'a Bench<'a>, emulator: &[&str]) -> anyhow::Result<Scene<'a>> {
        let folder = tempfile::Builder::new().prefix("hark-bench-").tempdir().context("making a folder")?;
        let (nats_server, nats) = servers::start_nats(&bench.nats_server, folder.path(), &bench.interrupt)?;
        let mut command = Command::new(bench.workspace.released("dashscope-emulator"));
        command.args(emulator).arg("--journal").arg(folder.path().join("journal"));
        let (emulator, api) = servers::start_emulator(command, &bench.interrupt)?;
        let scene = Scene { api, nats, bench, emulator, nats_server, folder };
        let calls = scene.calls();
        fs::create_dir(&calls).with_context(|| format!("making {}", calls.display()))?;
        servers::lay_out_plugin(&bench.workspace.released(servers::PLUGIN), &scene.path("plugins"))?;
        Ok(scene)
    }

    /// The folder that is watched.
    pub(super) fn calls(&self) -> PathBuf {
        self.path("calls")
    }

    /// The emulator's journal of requests, a JSON object a line.
    pub(super) fn journal(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.path("journal")).context("reading the emulator's journal")
    }

    /// CPU so far of NATS and the emulator.
    pub(super) fn cpu_of_servers(&self) -> anyhow::Result<Duration> {
        Ok(Tree::of(self.emulator.id())?.cpu()? + Tree::of(self.nats_server.id())?.cpu()?)
    }

    /// A path in the scene's folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts harkd and waits until it watches.
    pub(super) fn harkd(&self, setup: &Setup) -> anyhow::Result<Player<'a>> {
        let http = servers::free_address()?;
        let mut command = self.command(setup, &http.to_string())?;
        command.arg("run");
        let mut harkd = Player::start(self.bench, "harkd", command)?;
        let ready = self.bench.interrupt.wait_for(TIME_TO_START, || {
            harkd.child.runs()?;
            Ok(servers::readiness(http).starts_with("HTTP/1.1 200").then_some(()))
        })?;
        if ready.is_none() {
            bail!("harkd was not ready within {TIME_TO_START:?}:\n{}", harkd.child.last_words());
        }
        Ok(harkd)
    }

    /// harkd with its config, which is written here, and without a subcommand.
    pub(super) fn command(&self, setup: &Setup, http: &str) -> anyhow::Result<Command> {
        let config = self.path("harkd.toml");
        fs::write(&config, self.config(setup, http)).context("writing the config")?;
        let mut command = Command::new(self.bench.workspace.released("harkd"));
        command.arg("--config").arg(&config).env(KEY, "sk-bench");
        Ok(command)
    }

    /// Starts the bare loop.
    pub(super) fn bare_loop(&self, files: usize, concurrency: usize) -> anyhow::Result<Player<'a>> {
        let (files, concurrency) = (files.to_string(), concurrency.to_string());
        let folder = self.calls().display().to_string();
        let mut bare_loop = self.floor(&[
            "files",
            "--api",
            &self.api,
            "--folder",
            &folder,
            "--files",
            &files,
            "--concurrency",
            &concurrency,
        ])?;
        bare_loop.line()?;
        Ok(bare_loop)
    }

    /// Starts a part of `bench-floor`.
    pub(super) fn floor(&self, arguments: &[&str]) -> anyhow::Result<Player<'a>> {
        let mut command = Command::new(self.bench.workspace.released("bench-floor"));
        command.arg("--nats").arg(&self.nats).args(arguments);
        Player::start(self.bench, "bench-floor", command)
    }

    /// Starts the script, and waits until it watches.
    pub(super) fn script(&self, python: &Path, concurrency: usize) -> anyhow::Result<Player<'a>> {
        let case = serde_json::json!({
            "api": self.api, "nats": self.nats, "folder": self.calls(), "concurrency": concurrency,
        });
        let mut command = Command::new(python);
        command.arg(self.bench.workspace.path("xtask/src/bench/floor.py")).arg(case.to_string());
        let mut script = Player::start(self.bench, "the Python script", command)?;
        script.line()?;
        Ok(script)
    }

    /// Starts qwen3-asr-toolkit with a recording, and waits until its Python runs.
    pub(super) fn toolkit(&self, python: &Path, recording: &Path) -> anyhow::Result<Player<'a>> {
        let case = serde_json::json!({
            "api": self.api, "file": recording, "folder": self.path("toolkit"),
        });
        let mut command = Command::new(python);
        command.arg(self.bench.workspace.path("xtask/src/bench/toolkit.py")).arg(case.to_string());
        let mut toolkit = Player::start(self.bench, "qwen3-asr-toolkit", command)?;
        toolkit.line()?;
        Ok(toolkit)
    }

    fn config(&self, setup: &Setup, http: &str) -> String {
        let Setup { engine, concurrency, plugin, requests_per_minute, route } = setup;
        let mut config = format!(
            r#"
[dashscope]
base_url = "{}"
requests_per_minute = {requests_per_minute}
concurrency = {concurrency}

[nats]
servers = ["{}"]

[state]
directory = "{}"

[http]
listen = "{http}"

[plugins]
directory = "{}"

[[source]]
name = "bench"
kind = "directory"
path = "{}"
existing = "process"
settle = "{SETTLE}"

[[route]]
name = "default"
engine = "{engine}"
{route}
"#,
            self.api,
            self.nats,
            self.path("state").display(),
            self.path("plugins").display(),
            self.calls().display(),
        );
        if *plugin {
            config.push_str(PLUGIN);
        }
        config
    }
}

impl<'a> Player<'a> {
    fn start(bench: &'a Bench<'a>, name: &'static str, command: Command) -> anyhow::Result<Player<'a>> {
        let (sender, lines) = channel();
        let child = Child::start(name, command, Output::Lines(sender))?;
        Ok(Player { bench, child, lines })
    }

    /// Its next line.
    pub(super) fn line(&mut self) -> anyhow::Result<String> {
        self.line_while(|| Ok(()))
    }

    /// Its next line; `look` is called again and again until it comes.
    pub(super) fn line_while(
        &mut self,
        mut look: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<String> {
        let line = self.bench.interrupt.wait_for(PATIENCE, || {
            look()?;
            match self.lines.try_recv() {
                Ok(line) => Ok(Some(line)),
                Err(TryRecvError::Empty) => Ok(None),
                // The process' output explains more than a time-out does.
                Err(TryRecvError::Disconnected) => self.child.runs().map(|()| None),
            }
        })?;
        let Some(line) = line else {
            bail!("nothing was heard for {PATIENCE:?}:\n{}", self.child.last_words())
        };
        Ok(line)
    }

    /// # Errors
    /// When the process has ended, with its last output.
    pub(super) fn runs(&mut self) -> anyhow::Result<()> {
        self.child.runs()
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// It and its children.
    pub(super) fn tree(&self) -> anyhow::Result<Tree> {
        Tree::of(self.child.id())
    }

    /// CPU so far, once it has nothing more to do.
    pub(super) fn cpu_at_rest(&mut self) -> anyhow::Result<Duration> {
        let mut before = self.tree()?.cpu()?;
        loop {
            self.bench.interrupt.sleep(QUIET)?;
            self.child.runs()?;
            let now = self.tree()?.cpu()?;
            // One tick of the kernel's clock may be charged to any process.
            if now.saturating_sub(before) <= QUIET / 20 {
                return Ok(now);
            }
            before = now;
        }
    }
}

/// The rows measure the cost of files, not the time for which they have to settle.
const SETTLE: &str = "100ms";

const PLUGIN: &str = r#"
[[plugin]]
name = "keywords"
library = "keyword_alert"

[[plugin.config.rules]]
name = "churn"
any = ["cancel", "close my account"]
"#;
