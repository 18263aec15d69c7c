//! A Debian 12 with systemd as PID 1, in a container of systemd-nspawn. What happens in it stays in memory and is gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::run_program;
use crate::child::{Child, Output};
use crate::debian;
use crate::workspace::Workspace;

/// For anything that is waited for in the machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The release whose glibc the packages are made for.
const RELEASE: &str = "bookworm";

/// What the story needs beside the smallest Debian.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,ca-certificates,curl";

/// A running container; it ends when this is dropped.
pub(super) struct Machine {
    nspawn: Child,
    /// PID 1 of the container, as this machine numbers it.
    leader: u32,
}

impl Machine {
    /// Makes the root once, with debootstrap, and starts it; `share` is `/mnt` in it, read-only.
    ///
    /// # Errors
    /// Without root or the two programs; when Debian's archive cannot be reached, or systemd does not come up.
    pub(super) fn boot(workspace: &Workspace, share: &Path) -> anyhow::Result<Machine> {
        ensure!(debian::is_root(), "a container with systemd needs root");
        for (program, package) in [("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container")] {
            ensure!(
                debian::find_or_install(program, package)?,
                "{program} is not installed (Debian and Ubuntu: apt install {package})"
            );
        }
        let root = root(workspace)?;
        let mut command = Command::new("systemd-nspawn");
        command
            .args([
                "--quiet",
                "--boot",
                "--console=pipe",
                "--register=no",
                "--keep-unit",
                "--private-network",
            ])
            // The root stays as it is: what is written goes to memory.
            .args(["--volatile=overlay", "--link-journal=no", "--machine=hark-trial"])
            .arg(format!("--directory={}", root.display()))
            .arg(format!("--bind-ro={}:/mnt", share.display()));
        let mut nspawn = Child::start("systemd-nspawn", command, Output::Kept)?;
        let leader = wait("the container", || {
            nspawn.runs()?;
            let id = nspawn.id();
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            // The process that prepares the container is a child as well.
            let is_systemd = |leader: &&str| {
                let name = fs::read_to_string(format!("/proc/{leader}/comm"));
                name.is_ok_and(|name| name.trim() == "systemd")
            };
            Ok(children.split_whitespace().find(is_systemd).and_then(|leader| leader.parse().ok()))
        })?;
        let machine = Machine { nspawn, leader };
        wait("systemd", || {
            let state = machine.command("systemctl is-system-running").output()?;
            Ok((state.stdout.trim_ascii() == b"running").then_some(()))
        })
        .with_context(|| machine.nspawn.last_words())?;
        Ok(machine)
    }

    /// What a script prints that has to succeed.
    ///
    /// # Errors
    /// With what it said when it failed.
    pub(super) fn run(&self, script: &str) -> anyhow::Result<String> {
        run_program(&mut self.command(script)).with_context(|| self.journal())
    }

    /// Asserts that a script fails, and returns what it printed and said.
    ///
    /// # Errors
    /// When it succeeds.
    pub(super) fn fails(&self, script: &str) -> anyhow::Result<String> {
        let output = self.command(script).output().context("starting nsenter")?;
        ensure!(!output.status.success(), "{script} succeeded");
        Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// Waits until a script prints this.
    ///
    /// # Errors
    /// After [`PATIENCE`], with what it printed last.
    pub(super) fn prints(&self, script: &str, expected: &str) -> anyhow::Result<()> {
        let mut last = String::new();
        let outcome = wait(script, || {
            let output = self.command(script).output().context("starting nsenter")?;
            last = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
            Ok((last == expected).then_some(()))
        });
        outcome.with_context(|| format!("it printed {last:?}, not {expected:?}\n{}", self.journal()))
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.leader.to_string(), "--", "/bin/sh", "-ec", script]);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// The newest lines of harkd and systemd about it.
    fn journal(&self) -> String {
        let output =
            self.command("journalctl --no-pager --lines 60 --unit harkd --unit nats-server").output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }
}

/// The root that the containers start from, made where it is absent.
fn root(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let root = workspace.tools().join(RELEASE);
    if root.exists() {
        return Ok(root);
    }
    println!("making a Debian in {}", root.display());
    let half = workspace.tools().join(format!("{RELEASE}.part"));
    if half.exists() {
        fs::remove_dir_all(&half).with_context(|| format!("removing {}", half.display()))?;
    }
    fs::create_dir_all(&half)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), RELEASE]).arg(&half);
    run_program(&mut debootstrap)?;
    fs::rename(&half, &root)?;
    Ok(root)
}

fn wait<T>(what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("{what}: nothing within {PATIENCE:?}")
}
