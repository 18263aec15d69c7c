//! Restricts access to files with landlock.

use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest set of rights that this code knows; an older kernel enforces the part that it knows.
const KNOWN: ABI = ABI::V6;

/// From now on the process cannot open a file. Returns what the kernel does not enforce.
pub(super) fn no_files() -> Option<String> {
    verdict(ruleset().and_then(RulesetCreated::restrict_self).map(|status| status.ruleset))
}

/// From now on the process can read everything except `hidden`, and write below `writable`. Returns what the kernel does not enforce.
pub(super) fn files_of_a_plugin(hidden: &[PathBuf], writable: &[PathBuf]) -> Option<String> {
    let confine = || {
        let mut rules = ruleset()?;
        let read = AccessFs::from_read(KNOWN);
        for path in readable_paths(hidden) {
            rules = grant(rules, &path, read)?;
        }
        for path in writable {
            rules = grant(rules, path, read | write_access())?;
        }
        // Devices that C libraries expect.
        for device in ["/dev/null", "/dev/zero", "/dev/full"] {
            rules = grant(rules, Path::new(device), AccessFs::ReadFile | AccessFs::WriteFile)?;
        }
        rules.restrict_self().map(|status| status.ruleset)
    };
    verdict(confine())
}

/// From now on the process can read and run this program, and what is installed. Returns what the kernel does not enforce.
pub(super) fn programs_only(program: &Path) -> Option<String> {
    let confine = || {
        let mut rules = ruleset()?;
        for path in [
            Path::new("/usr"),
            Path::new("/lib"),
            Path::new("/lib64"),
            Path::new("/etc/ld.so.cache"),
            program,
        ] {
            rules = grant(rules, path, AccessFs::from_read(KNOWN))?;
        }
        rules = grant(rules, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)?;
        rules.restrict_self().map(|status| status.ruleset)
    };
    verdict(confine())
}

/// A ruleset that handles all rights, so that only granted ones remain, and confines signals and abstract sockets to the process.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.scope(Scope::from_all(KNOWN))?.create()
}

/// Plain files, folders and links; no device nodes, pipes or sockets.
fn write_access() -> BitFlags<AccessFs> {
    AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}

fn grant(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        // Folder rights do not apply to a file; requesting them would be reported like a kernel that lacks them.
        Ok(opened) if path.is_dir() => rules.add_rule(PathBeneath::new(opened, access)),
        Ok(opened) => rules.add_rule(PathBeneath::new(opened, access & AccessFs::from_file(KNOWN))),
        // The path is gone or cannot be opened: no rule, so no access.
        Err(PathFdError::OpenCall { .. } | _) => Ok(rules),
    }
}

/// Landlock can only allow, so everything around the hidden paths is allowed entry by entry.
fn readable_paths(hidden: &[PathBuf]) -> Vec<PathBuf> {
    let mut avoid: Vec<PathBuf> =
        hidden.iter().map(|path| path.canonicalize().unwrap_or(path.clone())).collect();
    // /dev gives access to whole disks, /proc to other processes, the rest to secrets of other programs.
    avoid.extend(["/dev", "/proc", "/run/credentials", "/run/secrets", "/run/user"].map(PathBuf::from));
    let mut readable = Vec::new();
    collect_around(Path::new("/"), &avoid, &mut readable);
    readable
        .extend(["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"].map(PathBuf::from));
    readable.extend(
        ["self", "cpuinfo", "meminfo", "stat", "loadavg", "uptime", "filesystems", "sys"].map(in_proc),
    );
    readable
}

fn in_proc(name: &str) -> PathBuf {
    Path::new("/proc").join(name)
}

fn collect_around(folder: &Path, avoid: &[PathBuf], readable: &mut Vec<PathBuf>) {
    if avoid.iter().any(|path| path == folder) {
        return;
    }
    if !avoid.iter().any(|path| path.starts_with(folder)) {
        readable.push(folder.to_owned());
        return;
    }
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        // Links are skipped: the target is granted or hidden under its own path.
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            collect_around(&entry.path(), avoid, readable);
        }
    }
}

fn verdict(outcome: Result<RulesetStatus, RulesetError>) -> Option<String> {
    match outcome {
        Ok(RulesetStatus::FullyEnforced) => None,
        Ok(RulesetStatus::PartiallyEnforced) => {
            Some("landlock: this kernel knows only a part of the file rights (Linux 6.12 knows all)".into())
        }
        Ok(RulesetStatus::NotEnforced) => {
            Some("landlock: not available, files are protected by their permissions only".into())
        }
        Err(error) => Some(format!("landlock: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_a_hidden_folder_is_granted_and_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["a", "b/open", "b/secret/deep"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        let mut readable = Vec::new();
        collect_around(&root, &[root.join("b/secret")], &mut readable);
        readable.sort();
        assert_eq!(readable, [root.join("a"), root.join("b/open")]);
    }
}
