//! Programs that tests start and that Debian has packages of.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Whether the program can be started. As root on a system with `apt-get` its package is installed first, if need be.
///
/// # Errors
/// When the package cannot be installed.
pub(crate) fn find_or_install(program: &str, package: &str) -> anyhow::Result<bool> {
    if is_there(program) {
        return Ok(true);
    }
    if !is_root() || !is_there("apt-get") {
        return Ok(false);
    }
    apt(&["update", "--quiet"])?;
    apt(&["install", "--quiet", "--yes", "--no-install-recommends", package])?;
    Ok(is_there(program))
}

/// The program of this name: the one on the PATH, else the one in `folder`, where it is put out of Debian's `package` if need be. The package
/// is not installed, because it would start a server. `None`: there is no `apt-get`, or its lists do not have the package.
///
/// # Errors
/// When the package was fetched and cannot be unpacked.
pub(crate) fn find_or_unpack(program: &str, package: &str, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let unpacked = folder.join(program);
    if is_there(program) {
        return Ok(Some(program.into()));
    }
    if unpacked.exists() {
        return Ok(Some(unpacked));
    }
    if !is_there("apt-get") {
        return Ok(None);
    }
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let scratch = tempfile::tempdir_in(folder)?;
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "--quiet", package]).current_dir(scratch.path()).stdin(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    println!("getting {program} out of Debian's package {package}, for this workspace alone");
    // Only root may fetch lists that are absent or too old.
    if !download() && (!is_root() || apt(&["update", "--quiet"]).is_err() || !download()) {
        return Ok(None);
    }
    let archive = std::fs::read_dir(scratch.path())?.next().context("apt-get download left nothing")??.path();
    let contents = scratch.path().join("contents");
    let status = Command::new("dpkg-deb").arg("--extract").args([&archive, &contents]).status();
    ensure!(status.context("starting dpkg-deb")?.success(), "{} cannot be unpacked", archive.display());
    let found = contents.join("usr/bin").join(program);
    std::fs::rename(&found, &unpacked).with_context(|| format!("{package} has no {program}"))?;
    Ok(Some(unpacked))
}

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
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
