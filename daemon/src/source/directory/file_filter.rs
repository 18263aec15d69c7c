//! Which names below a watched folder are recordings, and which folders are entered.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::config::UNFINISHED_ENDINGS;

/// Folders in which NAS systems, desktops and filesystems keep snapshots, deleted files and previews: copies of recordings. Further folders
/// of this kind are hidden (.snapshot, .Trash-1000, .zfs).
const SYSTEM_FOLDERS: [&str; 18] = [
    "#recycle",
    "#snapshot",
    "$RECYCLE.BIN",
    "@Recently-Snapshot",
    "@Recycle",
    "@__thumb",
    "@eaDir",
    "@sharesnap",
    "@tmp",
    "Network Trash Folder",
    "RECYCLED",
    "RECYCLER",
    "System Volume Information",
    "Temporary Items",
    "__MACOSX",
    "found.000",
    "lost+found",
    "~snapshot",
];

/// Prefix of the names under which Samba shows snapshots: @GMT-2026.11.30-00.00.00.
const SHADOW_COPY: &str = "@GMT-";

/// Which names below a folder are recordings.
#[derive(Debug)]
pub struct FileFilter {
    /// The watched folder, absolute.
    pub root: PathBuf,
    include: GlobSet,
    exclude: GlobSet,
    recursive: bool,
}

/// Whether a folder is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    Yes,
    /// The folder is hidden or excluded, or the source is not recursive.
    No,
    /// A NAS system, a desktop or a filesystem uses the folder for itself.
    SystemFolder,
}

impl FileFilter {
    /// # Errors
    /// A glob that cannot be read.
    pub fn new(
        root: PathBuf,
        include: &[String],
        exclude: &[String],
        recursive: bool,
    ) -> Result<FileFilter, globset::Error> {
        Ok(FileFilter { root, include: globs(include)?, exclude: globs(exclude)?, recursive })
    }

    /// Whether a path below the root may be a recording, by its name alone.
    pub fn wants(&self, path: &Path) -> bool {
        self.eligible(path).is_some_and(|relative| self.include.is_match(relative))
    }

    /// The path relative to the root, if only `include` may still rule the file out.
    pub fn eligible<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let relative = path.strip_prefix(&self.root).ok()?;
        let name = path.file_name()?.as_bytes();
        let folder = relative.parent()?;
        let is_eligible = !name.starts_with(b".")
            && !UNFINISHED_ENDINGS.iter().any(|ending| ends_with(name, ending.as_bytes()))
            && (self.recursive || folder.as_os_str().is_empty())
            && self.enters_below(folder) == Entered::Yes
            && !self.exclude.is_match(relative);
        is_eligible.then_some(relative)
    }

    /// Whether a folder below the root is entered.
    pub(super) fn enters(&self, folder: &Path) -> Entered {
        match folder.strip_prefix(&self.root) {
            Ok(relative) if self.recursive => self.enters_below(relative),
            _ => Entered::No,
        }
    }

    fn enters_below(&self, relative: &Path) -> Entered {
        let is_excluded = |folder: &Path| !self.exclude.is_empty() && self.exclude.is_match(folder);
        if relative.iter().any(|part| part.as_bytes().starts_with(b"."))
            || relative.ancestors().any(is_excluded)
        {
            Entered::No
        } else if relative.iter().any(|part| is_apart(part.as_bytes())) {
            Entered::SystemFolder
        } else {
            Entered::Yes
        }
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        // Case-insensitive, because some recorders write CALL.WAV; `*` does not match a `/`.
        globs.add(GlobBuilder::new(pattern).case_insensitive(true).literal_separator(true).build()?);
    }
    globs.build()
}

fn is_apart(name: &[u8]) -> bool {
    let shadow = SHADOW_COPY.as_bytes();
    SYSTEM_FOLDERS.iter().any(|apart| name.eq_ignore_ascii_case(apart.as_bytes()))
        || name.get(..shadow.len()).is_some_and(|start| start.eq_ignore_ascii_case(shadow))
}

fn ends_with(name: &[u8], ending: &[u8]) -> bool {
    name.len() >= ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_filter(exclude: &[&str]) -> FileFilter {
        let exclude: Vec<String> = exclude.iter().map(|&glob| glob.to_owned()).collect();
        FileFilter::new("/calls".into(), &["**/*.wav".into()], &exclude, true).unwrap()
    }

    #[test]
    fn folders_of_systems_are_kept_apart_at_any_depth_and_in_any_case() {
        let file_filter = file_filter(&[]);
        for name in [
            "#snapshot",
            "@Recycle",
            "@recycle",
            "$Recycle.Bin",
            "lost+found",
            "~snapshot",
            "@GMT-2026.11.30",
        ] {
            for folder in [name.to_owned(), format!("deep/{name}"), format!("{name}/deep")] {
                let folder = Path::new("/calls").join(folder);
                assert_eq!(file_filter.enters(&folder), Entered::SystemFolder, "{}", folder.display());
                assert!(!file_filter.wants(&folder.join("a.wav")), "{}", folder.display());
            }
        }
        for name in ["snapshot", "recycle", "@home", "#1"] {
            let folder = Path::new("/calls").join(name);
            assert_eq!(file_filter.enters(&folder), Entered::Yes, "{name}");
            assert!(file_filter.wants(&folder.join("lost+found.wav")), "{name}");
        }
        assert_eq!(file_filter.enters(Path::new("/calls")), Entered::Yes);
        assert_eq!(file_filter.enters(Path::new("/calls/.Trash-1000")), Entered::No);
    }

    #[test]
    fn what_is_excluded_is_neither_entered_nor_wanted() {
        let file_filter = file_filter(&["old", "**/tmp", "tests/**", "*-draft.wav"]);
        for folder in ["old", "OLD/deep", "a/tmp", "a/tmp/b", "tests/a"] {
            let folder = Path::new("/calls").join(folder);
            assert_eq!(file_filter.enters(&folder), Entered::No, "{}", folder.display());
            assert!(!file_filter.wants(&folder.join("a.wav")), "{}", folder.display());
        }
        assert!(!file_filter.wants(Path::new("/calls/a-draft.wav")));
        assert!(!file_filter.wants(Path::new("/calls/tests/a.wav")));
        assert!(file_filter.wants(Path::new("/calls/deep/a-draft.wav")));
        assert!(file_filter.wants(Path::new("/calls/deep/old/a.wav")));
    }
}
