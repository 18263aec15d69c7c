//! A disk that can be filled: a tmpfs of a few megabytes, in a mount namespace that ends with the test.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the environment of a test that runs in its own mount namespace.
const INSIDE: &str = "HARK_TEST_HAS_OWN_MOUNTS";

/// Whether this process has its own mount namespace. If not, runs the test of this name again in a process that has one, and the caller
/// returns: `if !has_own_mounts("a_full_disk_…") { return }`. On a machine that permits no such namespace (a container without user
/// namespaces) it prints that the test is skipped.
pub fn has_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
    };
    let try_out = unshare().args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !try_out.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED {test}: this machine permits no mount namespace: {try_out:?}");
        return false;
    }
    let mut again = unshare();
    again.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--include-ignored", "--nocapture"]);
    let output = again.env(INSIDE, "1").output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "it failed in its own namespace");
    false
}

/// The mounted disk; it is unmounted on drop.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk with room for so many bytes over a folder. The process must have its own mount namespace.
    pub fn over(folder: &Path, bytes: u64) -> SmallDisk {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={bytes},mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder));
        SmallDisk { mount: folder.to_owned() }
    }

    /// Fills the disk to the last page.
    pub fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        while filler.write_all(&[0; 4_096]).is_ok() {}
    }

    /// Frees the space that [`SmallDisk::fill`] took.
    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount succeeds even while a process has a file open on the disk.
        run(Command::new("umount").arg("--lazy").arg(&self.mount));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
