//! The files of an installation, as they lie below `/`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::{PLUGINS, bill, run_program};
use crate::workspace::Workspace;

const DOC: &str = "usr/share/doc/hark";

/// What stands in the completions' folders, by shell.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/harkd"),
    ("zsh", "usr/share/zsh/vendor-completions/_harkd"),
    ("fish", "usr/share/fish/vendor_completions.d/harkd.fish"),
];

/// A staged installation.
pub(super) struct Tree {
    root: PathBuf,
    /// Seconds since the epoch, of every file.
    pub(super) epoch: String,
}

impl Tree {
    /// Puts everything below `root`. `built` finds results of the build.
    ///
    /// # Errors
    /// When a file is missing, or harkd cannot write its manual pages.
    pub(super) fn stage(
        workspace: &Workspace,
        root: &Path,
        built: &dyn Fn(&str) -> PathBuf,
        epoch: &str,
    ) -> anyhow::Result<Tree> {
        let tree = Tree { root: root.to_owned(), epoch: epoch.to_owned() };
        tree.copy(&built("harkd"), "usr/bin/harkd", 0o755)?;
        for plugin in PLUGINS {
            let library = format!("lib{plugin}.so");
            tree.copy(&built(&library), &format!("usr/lib/hark/plugins/{library}"), 0o644)?;
        }
        for (from, to) in [
            ("packaging/harkd.toml", "etc/hark/harkd.toml"),
            ("systemd/harkd.service", "usr/lib/systemd/system/harkd.service"),
            ("systemd/harkd.sysusers.conf", "usr/lib/sysusers.d/hark.conf"),
            ("systemd/harkd.tmpfiles.conf", "usr/lib/tmpfiles.d/hark.conf"),
            ("packaging/debian/copyright", &format!("{DOC}/copyright")),
            ("LICENSE", &format!("{DOC}/LICENSE")),
            ("README.md", &format!("{DOC}/README.md")),
            ("CHANGELOG.md", &format!("{DOC}/CHANGELOG.md")),
            ("config/harkd.toml", &format!("{DOC}/config/harkd.toml")),
        ] {
            tree.copy(&workspace.path(from), to, 0o644)?;
        }
        tree.copy_folder(&workspace.path("docs"), &format!("{DOC}/docs"))?;
        tree.copy_folder(&workspace.path("examples"), &format!("{DOC}/examples"))?;
        tree.copy_folder(&workspace.path("config/dashboards"), "usr/share/hark/dashboards")?;
        // The docs' links to it hold.
        symlink("../../../hark/dashboards", tree.path(&format!("{DOC}/config/dashboards")))?;
        tree.make_manual_pages()?;
        for (shell, path) in COMPLETIONS {
            let script = run_program(Command::new(tree.path("usr/bin/harkd")).args(["completions", shell]))?;
            tree.write(path, script.as_bytes())?;
        }
        tree.compress(&workspace.path("CHANGELOG.md"), &format!("{DOC}/changelog.gz"))?;
        tree.write(&format!("{DOC}/hark.cdx.json"), bill::of_materials(workspace, epoch)?.as_bytes())?;
        // Whatever the umask of who builds it: no other user may write to the plugins' folder.
        run_program(Command::new("chmod").args(["-R", "u+rwX,go+rX,go-w"]).arg(root))?;
        Ok(tree)
    }

    /// Path of a file of the installation, e.g. `usr/bin/harkd`.
    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// What the machine's loader has to load.
    pub(super) fn programs(&self) -> Vec<PathBuf> {
        let plugins = PLUGINS.iter().map(|plugin| self.path(&format!("usr/lib/hark/plugins/lib{plugin}.so")));
        [self.path("usr/bin/harkd")].into_iter().chain(plugins).collect()
    }

    fn make_manual_pages(&self) -> anyhow::Result<()> {
        let pages = tempfile::tempdir()?;
        run_program(Command::new(self.path("usr/bin/harkd")).arg("man").arg(pages.path()))?;
        let mut count = 0;
        for page in fs::read_dir(pages.path())? {
            let page = page?;
            let to = format!("usr/share/man/man1/{}.gz", page.file_name().display());
            self.compress(&page.path(), &to)?;
            count += 1;
        }
        ensure!(count > 1, "harkd man wrote {count} manual pages");
        Ok(())
    }

    fn write(&self, to: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.path(to);
        make_parent(&path)?;
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        set_mode(&path, 0o644)
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> anyhow::Result<()> {
        let path = self.path(to);
        make_parent(&path)?;
        fs::copy(from, &path).with_context(|| format!("copying {}", from.display()))?;
        set_mode(&path, mode)
    }

    fn copy_folder(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
            let entry = entry?;
            let inside = format!("{to}/{}", entry.file_name().display());
            match entry.file_type()?.is_dir() {
                true => self.copy_folder(&entry.path(), &inside)?,
                false => self.copy(&entry.path(), &inside, 0o644)?,
            }
        }
        Ok(())
    }

    /// Without name and time in the result, so that the same file gives the same bytes.
    fn compress(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        let mut gzip = Command::new("gzip");
        let output = gzip.args(["-9", "-n", "-c"]).arg(from).stderr(Stdio::inherit()).output();
        let output = output.context("starting gzip")?;
        ensure!(output.status.success(), "gzip of {} ended with {}", from.display(), output.status);
        self.write(to, &output.stdout)
    }
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("a file of the installation lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).context("setting a mode")
}
