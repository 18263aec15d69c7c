//! The Debian package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::linked::Libc;
use super::tree::Tree;
use super::{Compression, run_program};
use crate::workspace::Workspace;

const ARCHITECTURE: &str = "amd64";
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// As `dpkg-deb` and archives name it.
fn file_name(version: &str) -> String {
    format!("hark_{version}_{ARCHITECTURE}.deb")
}

/// Packs the tree as a package of this version into the folder `out`.
///
/// # Errors
/// When `dpkg-deb` is missing or refuses it.
pub(super) fn pack(
    workspace: &Workspace,
    tree: &Tree,
    version: &str,
    libc: &Libc,
    compression: Compression,
    out: &Path,
) -> anyhow::Result<PathBuf> {
    let debian = tree.path("DEBIAN");
    fs::create_dir_all(&debian)?;
    let package = (|| {
        let template = fs::read_to_string(workspace.path("packaging/debian/control"))?;
        let control = template
            .replace("{version}", version)
            .replace("{architecture}", ARCHITECTURE)
            .replace("{libc}", &libc.to_string())
            .replace("{kibibytes}", &kibibytes(tree)?);
        fs::write(debian.join("control"), control)?;
        fs::write(debian.join("conffiles"), "/etc/hark/harkd.toml\n")?;
        fs::write(debian.join("md5sums"), md5sums(tree)?)?;
        for script in SCRIPTS {
            let path = debian.join(script);
            fs::copy(workspace.path(&format!("packaging/debian/{script}")), &path)
                .with_context(|| format!("copying {script}"))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        let package = out.join(file_name(version));
        let mut dpkg_deb = Command::new("dpkg-deb");
        // With SOURCE_DATE_EPOCH, no time in the package is younger.
        let compressor = match compression {
            Compression::Small => "-Zxz",
            Compression::Quick => "-Znone",
        };
        dpkg_deb.env("SOURCE_DATE_EPOCH", &tree.epoch).args(["--root-owner-group", compressor, "--build"]);
        run_program(dpkg_deb.arg(tree.path("")).arg(&package))?;
        Ok(package)
    })();
    fs::remove_dir_all(&debian)?;
    package
}

fn kibibytes(tree: &Tree) -> anyhow::Result<String> {
    let listed = run_program(
        Command::new("du").args(["-sk", "--apparent-size", "--exclude=DEBIAN"]).arg(tree.path("")),
    )?;
    Ok(listed.split_whitespace().next().context("du printed nothing")?.to_owned())
}

/// Of everything but config files, for `dpkg --verify`.
fn md5sums(tree: &Tree) -> anyhow::Result<String> {
    let script = "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";
    run_program(Command::new("sh").args(["-c", script]).current_dir(tree.path("")))
}
