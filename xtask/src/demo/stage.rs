//! NATS, the recognizer and harkd, on free ports, in a folder that is removed with them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::Region;
use crate::child::{Child, Output};
use crate::interrupt::Interrupt;
use crate::samples;
use crate::servers::{self, KEY, TIME_TO_START};
use crate::speech::{Listening, Speech};
use crate::workspace::Workspace;

/// What recognizes.
pub(crate) enum Service {
    /// A speech server, by default one on this machine.
    Own(Speech),
    /// The stand-in for the cloud's service, which recognizes nothing.
    Emulator,
    /// The cloud's service.
    Real { region: Region, key: String },
}

/// What recognizes, as far as the demo started it.
enum Recognizer {
    Own(Listening),
    Emulator(Child),
    Real,
}

/// Everything that runs; dropping this ends it in the order of the fields, and removes the folder last.
pub(crate) struct Stage {
    harkd: Child,
    recognizer: Recognizer,
    nats: Child,
    http: SocketAddr,
    harkd_program: PathBuf,
    folder: TempDir,
}

impl Stage {
    pub(crate) fn start(
        workspace: &Workspace,
        nats_server: &Path,
        service: Service,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Stage> {
        let folder = tempfile::Builder::new().prefix("hark-demo-").tempdir().context("making a folder")?;
        let (nats, nats_url) = servers::start_nats(nats_server, folder.path(), interrupt)?;
        let (recognizer, base_url, region, key) = match service {
            Service::Own(speech) => {
                let server = speech.start(interrupt)?;
                (Recognizer::Own(server), String::new(), Region::Singapore, None)
            }
            Service::Emulator => {
                let (emulator, api) = start_emulator(workspace, interrupt)?;
                (Recognizer::Emulator(emulator), api, Region::Singapore, Some("sk-emulator".to_owned()))
            }
            Service::Real { region, key } => (Recognizer::Real, String::new(), region, Some(key)),
        };
        let http = servers::free_address()?;
        lay_out(workspace, folder.path())?;
        write_config(
            workspace,
            folder.path(),
            &[
                ("/tmp/hark-demo", &folder.path().display().to_string()),
                ("http://127.0.0.1:8700/api/v1", &base_url),
                ("nats://127.0.0.1:4222", &nats_url),
                ("127.0.0.1:9464", &http.to_string()),
            ],
            &recognizer.config(),
        )?;
        let harkd_program = workspace.built("harkd");
        let mut command = Command::new(&harkd_program);
        command.arg("--config").arg(config_in(folder.path())).arg("run");
        match key {
            Some(key) => command.env(KEY, key),
            None => command.env_remove(KEY),
        };
        command.env("HARK_DASHSCOPE__REGION", region.name());
        command.env("HARK_LOG__FORMAT", "human");
        let harkd = Child::start("harkd", command, Output::Kept)?;
        let mut stage = Stage { harkd, recognizer, nats, http, harkd_program, folder };
        let mut answer = String::new();
        let ready = interrupt.wait_for(TIME_TO_START, || {
            stage.all_run()?;
            answer = servers::readiness(http);
            Ok(answer.starts_with("HTTP/1.1 200").then_some(()))
        })?;
        if ready.is_none() {
            let last_words = stage.harkd.last_words();
            bail!("harkd was not ready within {TIME_TO_START:?}: {answer}\nits last words:\n{last_words}");
        }
        println!("harkd is ready: NATS at {nats_url}, metrics at http://{http}/metrics\n");
        Ok(stage)
    }

    /// # Errors
    /// When one of the processes has ended, with its last output.
    pub(crate) fn all_run(&mut self) -> anyhow::Result<()> {
        self.nats.runs()?;
        match &mut self.recognizer {
            Recognizer::Own(server) => server.runs()?,
            Recognizer::Emulator(emulator) => emulator.runs()?,
            Recognizer::Real => {}
        }
        self.harkd.runs()
    }

    /// The time for one recording.
    pub(crate) fn time_for_a_recording(&self) -> Duration {
        match &self.recognizer {
            // Five minutes of speech take a minute on two idle cores.
            Recognizer::Own(_) => Duration::from_secs(600),
            Recognizer::Emulator(_) => Duration::from_secs(120),
            // The service may queue a long one for minutes.
            Recognizer::Real => Duration::from_secs(900),
        }
    }

    /// The folder that is watched.
    pub(crate) fn calls(&self) -> PathBuf {
        self.folder.path().join("calls")
    }

    pub(crate) fn config(&self) -> PathBuf {
        config_in(self.folder.path())
    }

    pub(crate) fn harkd(&self) -> &Path {
        &self.harkd_program
    }

    /// The token that the live page asks for.
    ///
    /// # Errors
    /// When the daemon has not written it.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let path = self.folder.path().join("state/http_token");
        let token = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(token.trim().to_owned())
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The last lines of harkd's log.
    pub(crate) fn last_words_of_harkd(&self) -> String {
        self.harkd.last_words()
    }

    /// A command of harkd with the demo's config.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.harkd_program);
        command.arg("--config").arg(self.config()).args(arguments);
        command
    }

    /// Publishes a file on the NATS source.
    pub(crate) fn submit(&self, file: &Path) -> anyhow::Result<()> {
        let mut command = self.command(&["submit", "--meta", "desk=berlin"]);
        command.arg(file);
        Child::start("harkd submit", command, Output::Kept)?.ends_well()
    }
}

impl Recognizer {
    /// What the config has beside `config/demo.toml`.
    fn config(&self) -> String {
        let Recognizer::Own(server) = self else { return String::new() };
        // The server of the demo recognizes one piece after the other.
        let concurrency = if server.is_ours() { 1 } else { 4 };
        format!(
            r#"
[[recognizer]]
name = "own"
kind = "openai"
base_url = "{}"
model = "{}"
concurrency = {concurrency}
timeout = "10m"

[[route]]
name = "default"
engine = "own"
"#,
            server.url, server.model
        )
    }
}

fn start_emulator(workspace: &Workspace, interrupt: &Interrupt) -> anyhow::Result<(Child, String)> {
    let mut command = Command::new(workspace.built("dashscope-emulator"));
    // Slow enough to show how the text grows.
    command.args(["--flash-delay", "400ms", "--token-delay", "150ms", "--task-delay", "3s"]);
    command.arg("--manifest").arg(workspace.path(samples::MANIFEST));
    servers::start_emulator(command, interrupt)
}

/// The folders, and the plugin.
fn lay_out(workspace: &Workspace, folder: &Path) -> anyhow::Result<()> {
    let calls = folder.join("calls");
    fs::create_dir(&calls).with_context(|| format!("making {}", calls.display()))?;
    servers::lay_out_plugin(&workspace.built(servers::PLUGIN), &folder.join("plugins"))
}

fn write_config(
    workspace: &Workspace,
    folder: &Path,
    places: &[(&str, &str)],
    recognizer: &str,
) -> anyhow::Result<()> {
    let template = workspace.path("config/demo.toml");
    let mut text =
        fs::read_to_string(&template).with_context(|| format!("reading {}", template.display()))?;
    for (usual, actual) in places {
        text = text.replace(usual, actual);
    }
    text.push_str(recognizer);
    let path = config_in(folder);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn config_in(folder: &Path) -> PathBuf {
    folder.join("harkd.toml")
}
