//! Python environments for this workspace alone. The one in `target/tools` brings `nats-server` where the machine has none, and the
//! official SDK that the emulator is tested with; the speech server has one of its own. Every step leaves a stamp, so a second run costs
//! nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::terminal;
use crate::workspace::Workspace;

/// What the tests install, each file where the tests are that need it.
const REQUIREMENTS: [&str; 2] = ["emulator/tests/requirements.txt", "daemon/tests/requirements.txt"];

/// The environment; while it is held, no other xtask changes it.
pub(crate) struct Environment {
    directory: PathBuf,
    _lock: File,
}

/// The environment of most tools; see [`environment_in`].
pub(crate) fn environment(workspace: &Workspace) -> anyhow::Result<Environment> {
    environment_in(&workspace.tools())
}

/// The environment `venv` of this folder, made now if it is absent or was left half made.
///
/// # Errors
/// When Python 3 with its `venv` module is missing, with what to install.
pub(crate) fn environment_in(folder: &Path) -> anyhow::Result<Environment> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let lock_path = folder.join(".lock");
    let lock = File::create(&lock_path).with_context(|| format!("opening {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("locking {}", lock_path.display()))?;
    let environment = Environment { directory: folder.join("venv"), _lock: lock };
    environment.once("created", "1", || {
        println!("making a Python environment in {}", environment.directory.display());
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&environment.directory);
        run_quietly(venv).context(
            "no Python environment; Python 3 with its venv module is needed (Debian and Ubuntu: apt install python3-venv)",
        )
    })?;
    Ok(environment)
}

impl Environment {
    /// Path of a program in the environment.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    /// The Python to run scripts with.
    pub(crate) fn interpreter(&self) -> PathBuf {
        self.program("python")
    }

    /// Installs one package at one version.
    ///
    /// # Errors
    /// pip's error; mostly the package index cannot be reached.
    pub(crate) fn install(&self, requirement: &str) -> anyhow::Result<()> {
        let name = requirement.split("==").next().unwrap_or(requirement);
        self.once(name, requirement, || {
            println!("installing {requirement} from PyPI");
            self.pip(&[requirement.to_owned()])
        })
    }

    /// Installs what the tests' requirement files name.
    ///
    /// # Errors
    /// As [`Environment::install`].
    pub(crate) fn with_test_requirements(self, workspace: &Workspace) -> anyhow::Result<Self> {
        for relative in REQUIREMENTS {
            // A part of the workspace whose tests need no Python has no such file.
            if workspace.path(relative).exists() {
                self.install_all(workspace, relative)?;
            }
        }
        Ok(self)
    }

    /// Installs what a requirement file of the workspace names.
    ///
    /// # Errors
    /// As [`Environment::install`].
    pub(crate) fn install_all(&self, workspace: &Workspace, relative: &str) -> anyhow::Result<()> {
        let path = workspace.path(relative);
        let wanted = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        self.once(&relative.replace('/', "-"), &wanted, || {
            println!("installing {relative} from PyPI");
            self.pip(&["--requirement".to_owned(), path.display().to_string()])
        })
    }

    fn pip(&self, arguments: &[String]) -> anyhow::Result<()> {
        let mut pip = self.pip_install();
        pip.arg("--quiet").args(arguments);
        run_quietly(pip).context("pip could not install it; is there a way to PyPI (or PIP_INDEX_URL)?")
    }

    /// `pip install`, without arguments yet.
    pub(crate) fn pip_install(&self) -> Command {
        let mut pip = Command::new(self.interpreter());
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
        pip
    }

    /// Does `work` unless the stamp says that it was done for the same `content`.
    pub(crate) fn once(
        &self,
        stamp: &str,
        content: &str,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let stamp = self.directory.join(format!(".hark-{stamp}"));
        if fs::read_to_string(&stamp).is_ok_and(|done| done == content) {
            return Ok(());
        }
        work()?;
        write(&stamp, content)
    }
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}

fn run_quietly(mut command: Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    print_end(&String::from_utf8_lossy(&words));
    bail!("{program} ended with {}", output.status)
}

/// The last lines of what a program said before it failed.
pub(crate) fn print_end(words: &str) {
    let lines: Vec<&str> = words.lines().collect();
    for line in &lines[lines.len().saturating_sub(20)..] {
        eprintln!("  {}", terminal::dim(line));
    }
}
