//! `cargo xtask dist`: a Debian package and a tarball of harkd, its plugins, manual pages, completions and docs, with a bill of materials and
//! checksums, in `target/dist`.

mod bill;
mod deb;
mod linked;
mod machine;
mod tarball;
mod tree;
mod trial;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use sha2::{Digest, Sha256};

use self::tree::Tree;
use crate::terminal;
use crate::workspace::Workspace;

/// The version of what is built: this workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The plugins that ship.
const PLUGINS: [&str; 5] = ["keyword_alert", "redact", "subtitles", "emotion_watch", "call_score"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is packed; a build for release takes ten minutes and more
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Then installs, starts, reloads, upgrades and purges the package in a Debian of its own under systemd (as root, with debootstrap and
    /// systemd-nspawn)
    #[arg(long = "try")]
    is_tried: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Release,
    /// For trying the package itself
    Dev,
}

/// How hard the archives are pressed.
#[derive(Debug, Clone, Copy)]
enum Compression {
    /// For users, who download them.
    Small,
    /// For trying them here.
    Quick,
}

/// Builds, packs and prints what was made.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    ensure!(cfg!(all(target_os = "linux", target_arch = "x86_64")), "packages are made on x86_64 Linux only");
    let epoch = epoch(workspace)?;
    build(workspace, options.profile)?;
    let built = |file: &str| match options.profile {
        Profile::Release => workspace.released(file),
        Profile::Dev => workspace.built(file),
    };
    let out = workspace.dist();
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| format!("emptying {}", out.display()))?;
    }
    let tree = Tree::stage(workspace, &out.join("tree"), &built, &epoch)?;
    let libc = linked::newest_libc(&tree.programs())?;
    println!("needs glibc {libc} or newer, and nothing else that a server lacks");
    let bill = out.join(format!("hark-{VERSION}.cdx.json"));
    fs::copy(tree.path("usr/share/doc/hark/hark.cdx.json"), &bill)?;
    let compression = match options.profile {
        Profile::Release => Compression::Small,
        Profile::Dev => Compression::Quick,
    };
    let package = deb::pack(workspace, &tree, VERSION, &libc, compression, &out)?;
    let tarball = tarball::pack(&tree, compression, &out)?;
    let mut made = vec![package.clone(), tarball.clone(), bill];
    made.sort();
    let sums = out.join("SHA256SUMS");
    fs::write(&sums, checksums(&made)?).with_context(|| format!("writing {}", sums.display()))?;
    made.push(sums);
    for path in &made {
        println!("{} {:>9} KiB", path.display(), fs::metadata(path)?.len() / 1024);
    }
    if options.is_tried {
        // As old as a package can be, so that the other one is an upgrade.
        let old = deb::pack(workspace, &tree, &format!("{VERSION}~before"), &libc, Compression::Quick, &out)?;
        let outcome = trial::run(workspace, &old, &package, &tarball);
        fs::remove_file(&old)?;
        outcome?;
        println!("{}", terminal::green("the package was installed, started, reloaded, upgraded and purged"));
    }
    Ok(())
}

/// `$SOURCE_DATE_EPOCH`, else the time of the last commit: the same sources give files with the same times.
fn epoch(workspace: &Workspace) -> anyhow::Result<String> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(workspace.path("."));
    let output = git.output().context("starting git; without a repository set SOURCE_DATE_EPOCH")?;
    ensure!(output.status.success(), "git log: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn build(workspace: &Workspace, profile: Profile) -> anyhow::Result<()> {
    let mut cargo = workspace.cargo(&["build", "--locked"]);
    match profile {
        // The whole workspace, as the tests build it: what they built is not built again.
        Profile::Dev => cargo.arg("--workspace"),
        Profile::Release => {
            let packages = PLUGINS.iter().chain([&"harkd"]).flat_map(|name| ["--package", name]);
            // Backtraces name the sources from here on, not a folder of the machine that built them.
            let root = workspace.path(".").canonicalize()?;
            let flags = format!("--remap-path-prefix={}=/usr/src/hark", root.display());
            cargo.arg("--release").args(packages).env("RUSTFLAGS", flags)
        }
    };
    let status = cargo.status().context("starting cargo")?;
    ensure!(status.success(), "cargo build ended with {status}");
    Ok(())
}

/// As `sha256sum` prints and checks them.
fn checksums(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut sums = String::new();
    for path in files {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().display();
        for byte in Sha256::digest(&bytes) {
            write!(sums, "{byte:02x}")?;
        }
        writeln!(sums, "  {name}")?;
    }
    Ok(sums)
}

/// Runs a command that has to succeed, and returns what it printed.
fn run_program(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("starting {}", Path::new(&program).display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
