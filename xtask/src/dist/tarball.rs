//! The tarball, for servers without Debian's packages: what lies below `/usr`, in one folder, and `etc` beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::Tree;
use super::{Compression, VERSION, run_program};

/// Packs the tree into the folder `out`.
///
/// # Errors
/// When GNU tar is missing or fails.
pub(super) fn pack(tree: &Tree, compression: Compression, out: &Path) -> anyhow::Result<PathBuf> {
    let name = format!("hark-{VERSION}-x86_64-linux");
    let path = out.join(format!("{name}.tar.gz"));
    let level = match compression {
        Compression::Small => "-9",
        Compression::Quick => "-1",
    };
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .arg(format!("--mtime=@{}", tree.epoch))
        .arg(format!("--use-compress-program=gzip -n {level}"))
        .arg(format!("--transform=flags=r;s,^usr/,{name}/,"))
        .arg(format!("--transform=flags=r;s,^etc/,{name}/etc/,"))
        .arg("--file")
        .arg(&path)
        .arg("--directory")
        .arg(tree.path(""))
        // Without the folders `usr` and `etc` themselves.
        .args(["usr/bin", "usr/lib", "usr/share", "etc/hark"]);
    run_program(&mut tar)?;
    Ok(path)
}
