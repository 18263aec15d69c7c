//! Where the workspace and its build results are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The workspace that this xtask was built in.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    root: PathBuf,
    #[serde(rename = "target_directory")]
    target: PathBuf,
}

impl Workspace {
    /// Asks cargo, which knows `CARGO_TARGET_DIR` and every config file that may move the target directory.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let output = Command::new(cargo_program())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .context("starting cargo")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("reading cargo metadata")
    }

    /// A path below the workspace's root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The folder for programs that belong to this workspace alone; `cargo clean` removes it.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The folder for packages.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// A cargo command in the workspace's root.
    ///
    /// `cargo xtask` told this process which package it is, in variables that build scripts depend on (ring's does). The command does not
    /// inherit them: otherwise a build from here and a `cargo build` by hand would rebuild each other's results.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_program());
        command.args(arguments).current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            let tells = |prefix| name.to_str().is_some_and(|name| name.starts_with(prefix));
            if tells("CARGO_PKG_") || tells("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// A result of `cargo build` in the dev profile: a program, or a plugin's library.
    pub(crate) fn built(&self, file: impl AsRef<Path>) -> PathBuf {
        self.target.join("debug").join(file)
    }

    /// A result of `cargo build --release`.
    pub(crate) fn released(&self, file: impl AsRef<Path>) -> PathBuf {
        self.target.join("release").join(file)
    }
}

fn cargo_program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}
