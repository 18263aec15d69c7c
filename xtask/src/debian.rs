//! Programs that tests start and that Debian has packages of.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Whether the program can be started. As root on a system with `apt-get` the package of its name is installed first, if need be.
///
/// # Errors
/// When the package cannot be installed.
pub(crate) fn find_or_install(program: &str) -> anyhow::Result<bool> {
    if is_there(program) {
        return Ok(true);
    }
    if !is_root() || !is_there("apt-get") {
        return Ok(false);
    }
    apt(&["update", "--quiet"])?;
    apt(&["install", "--quiet", "--yes", "--no-install-recommends", program])?;
    Ok(is_there(program))
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let status = command.status().context("starting apt-get")?;
    ensure!(status.success(), "apt-get {} ended with {status}", arguments.join(" "));
    Ok(())
}
