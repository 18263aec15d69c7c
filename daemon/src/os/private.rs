//! Folders and files that only the daemon's user may access, independent of the umask.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The rights of group and others.
const OTHERS: u32 = 0o077;

/// Creates a folder and its missing parents, each with mode 0700. A folder that exists keeps its mode.
///
/// # Errors
/// When the folder cannot be created.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates an empty file with mode 0600; a file that exists is truncated and keeps its mode.
///
/// # Errors
/// When the file cannot be created.
pub fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The mode of a folder if group or others have rights on it; `None` if only the owner has.
///
/// # Errors
/// When the folder's metadata cannot be read.
pub fn open_to_others(folder: &Path) -> io::Result<Option<u32>> {
    let mode = folder.metadata()?.mode() & 0o7777;
    Ok((mode & OTHERS != 0).then_some(mode))
}

/// Removes the rights of group and others from a folder and from its content, two levels down. Entries of another user keep their mode: the
/// folder itself keeps other users out.
///
/// # Errors
/// When the mode of the folder itself cannot be changed.
pub fn close(folder: &Path) -> io::Result<()> {
    // The folder comes first: after that no other user can replace an entry with a link before its mode is changed.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    if open_to_others(folder)?.is_some() {
        return Err(io::Error::other("its filesystem does not keep modes"));
    }
    close_below(folder, 2);
    Ok(())
}

fn close_below(folder: &Path, levels: u32) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // For a link this is the metadata of the link itself, which is neither folder nor file.
        let Ok(found) = entry.metadata() else { continue };
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        if (found.is_dir() || found.is_file()) && found.mode() & OTHERS != 0 {
            // A failure is harmless: the folder itself keeps other users out.
            let _ = std::fs::set_permissions(entry.path(), Permissions::from_mode(mode));
        }
        if found.is_dir() && levels > 1 {
            close_below(&entry.path(), levels - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_closed_two_levels_down() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let elsewhere = folder.path().join("elsewhere");
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        std::fs::create_dir_all(state.join("plugins/subtitles")).unwrap();
        for file in ["ledger", "plugins/rules", "plugins/subtitles/notes"] {
            std::fs::write(state.join(file), "").unwrap();
        }
        std::fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, state.join("link")).unwrap();
        for path in
            ["", "ledger", "plugins", "plugins/rules", "plugins/subtitles", "plugins/subtitles/notes", "link"]
        {
            let path = state.join(path);
            std::fs::set_permissions(&path, Permissions::from_mode(mode(&path) | 0o055)).unwrap();
        }
        assert_eq!(open_to_others(&state).unwrap().map(|mode| mode & 0o055), Some(0o055));

        close(&state).unwrap();
        assert_eq!(open_to_others(&state).unwrap(), None);
        for path in ["ledger", "plugins", "plugins/rules", "plugins/subtitles"] {
            assert_eq!(mode(&state.join(path)) & OTHERS, 0, "{path}");
        }
        assert_ne!(mode(&state.join("plugins/subtitles/notes")) & OTHERS, 0, "the plugin's own");
        assert_ne!(mode(&elsewhere) & OTHERS, 0, "links are not followed");
        create_folder(&state).unwrap();
        create_file(&state.join("lock")).unwrap();
        assert_eq!(mode(&state.join("lock")) & OTHERS, 0);
    }
}
