//! Access through descriptors to a folder that other users may write to, and to everything below it.
//!
//! The kernel looks a path up anew at every call. A user who may write to a watched folder may exchange a folder below it with a symbolic
//! link between two calls, or within one, and the daemon would read, move or delete files outside of the watched folder. So the daemon
//! opens only the configured path as a path ([`Folder::open`]). It looks up everything below from that descriptor: no link is followed, and
//! no path leads out of the folder.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open folder. Holding it open needs no rights; listing or changing it needs the usual ones.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// A name in an open folder; the entry may be of any kind, or missing.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'f> {
    folder: &'f Folder,
    name: &'f OsStr,
}

impl Folder {
    /// Opens a configured folder. Links in its path belong to the operator and are followed.
    ///
    /// # Errors
    /// When there is no such folder, or a folder above it may not be searched.
    pub fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder(fs::open(path, FOLDER, Mode::empty())?))
    }

    /// Opens a folder below this one, or this folder again if the path is empty.
    ///
    /// # Errors
    /// As [`Folder::reach`].
    pub fn below(&self, path: &Path) -> io::Result<Folder> {
        Ok(Folder(self.reach(path, FOLDER)?))
    }

    /// As [`Folder::below`]; missing folders are created.
    ///
    /// # Errors
    /// When one of the names belongs to an entry that is not a folder, or a folder cannot be created.
    pub fn make(&self, path: &Path) -> io::Result<Folder> {
        let mut folder = self.below(Path::new(""))?;
        for name in path {
            let name = Path::new(name);
            folder = match folder.below(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match fs::mkdirat(&folder.0, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => folder.below(name)?,
                        Err(error) => return Err(error.into()),
                    }
                }
                below => below?,
            };
        }
        Ok(folder)
    }

    /// Opens the entry at a path below this folder. Follows no link, neither as the last component nor on the way.
    ///
    /// # Errors
    /// The errors of `open`; a link on the way is `ELOOP` or `ENOTDIR`, a path that leads out of the folder is `EXDEV`.
    pub fn reach(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match fs::openat2(&self.0, path, flags | OFlags::NOFOLLOW, Mode::empty(), resolve) {
            // A kernel before 5.6, or a system call filter that does not know openat2.
            Err(Errno::NOSYS | Errno::PERM) => Ok(step_by_step(self.0.as_fd(), path, flags)?),
            opened => Ok(opened?),
        }
    }

    /// Metadata of the entry at a path below this folder; of a link, the link's own.
    ///
    /// # Errors
    /// When there is no such entry, or a folder on the way is a link or may not be searched.
    pub fn status(&self, path: &Path) -> io::Result<Stat> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
                self.below(parent)?.entry(name).status()
            }
            (_, Some(name)) => self.entry(name).status(),
            _ => Ok(fs::fstat(&self.0)?),
        }
    }

    /// The magic number of the folder's filesystem.
    ///
    /// # Errors
    /// When the filesystem cannot be queried.
    pub fn filesystem(&self) -> io::Result<u32> {
        let kind = fs::fstatfs(&self.0)?.f_type & 0xffff_ffff;
        Ok(u32::try_from(kind).unwrap_or_default())
    }

    /// A name in this folder.
    pub fn entry<'f>(&'f self, name: &'f OsStr) -> Entry<'f> {
        Entry { folder: self, name }
    }

    /// Lists this folder. Needs the right to search the folder as well: without that each file in it would seem to be gone.
    ///
    /// # Errors
    /// When the daemon may not list and search the folder.
    pub fn entries(&self) -> io::Result<Dir> {
        Ok(Dir::new(self.readable()?)?)
    }

    /// Whether this folder is empty; false if it cannot be listed.
    pub fn is_empty(&self) -> bool {
        let is_name = |name: &[u8]| name != b"." && name != b"..";
        self.entries().is_ok_and(|mut entries| {
            entries.all(|entry| entry.is_ok_and(|entry| !is_name(entry.file_name().to_bytes())))
        })
    }

    /// Writes the folder's list of names to the disk (fsync). Some filesystems do not support this and do not need it.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn sync(&self) -> io::Result<()> {
        match fs::fsync(self.readable()?) {
            Err(Errno::INVAL) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::openat(&self.0, ".", flags, Mode::empty())?)
    }
}

impl Entry<'_> {
    /// Metadata of the entry of this name; of a link, the link's own.
    ///
    /// # Errors
    /// When there is no such entry, or the folder may not be searched.
    pub fn status(self) -> io::Result<Stat> {
        Ok(fs::statat(&self.folder.0, self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// As [`Folder::reach`].
    ///
    /// # Errors
    /// The errors of `open`.
    pub fn reach(self, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(fs::openat(&self.folder.0, self.name, flags | OFlags::NOFOLLOW, Mode::empty())?)
    }

    /// Creates a file of this name, open for writing.
    ///
    /// # Errors
    /// When the name exists, or the folder may not be written.
    pub fn create(self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&self.folder.0, self.name, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// Removes the name. Fails for a folder.
    ///
    /// # Errors
    /// When there is no such entry, it is a folder, or the containing folder may not be written.
    pub fn remove(self) -> io::Result<()> {
        Ok(fs::unlinkat(&self.folder.0, self.name, AtFlags::empty())?)
    }

    /// Renames the entry in the place of the one that has the new name, if there is one.
    ///
    /// # Errors
    /// The errors of `rename`.
    pub fn rename_over(self, to: Entry<'_>) -> io::Result<()> {
        Ok(fs::renameat(&self.folder.0, self.name, &to.folder.0, to.name)?)
    }

    /// Renames the entry, unless the new name exists.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], [`io::ErrorKind::CrossesDevices`], or another error of `rename`.
    pub fn rename_new(self, to: Entry<'_>) -> io::Result<()> {
        let (from_folder, to_folder) = (&self.folder.0, &to.folder.0);
        match fs::renameat_with(from_folder, self.name, to_folder, to.name, RenameFlags::NOREPLACE) {
            // A filesystem without that flag may have hard links, which do not overwrite. Without both, checking the new name before the
            // rename is all that is possible.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match fs::linkat(from_folder, self.name, to_folder, to.name, AtFlags::empty()) {
                    Ok(()) => self.remove(),
                    Err(Errno::EXIST) => Err(Errno::EXIST.into()),
                    Err(_) if to.status().is_ok() => Err(Errno::EXIST.into()),
                    Err(_) => Ok(fs::renameat(from_folder, self.name, to_folder, to.name)?),
                }
            }
            outcome => Ok(outcome?),
        }
    }
}

/// As `openat2` with [`ResolveFlags::BENEATH`] and [`ResolveFlags::NO_SYMLINKS`], with a descriptor for each folder on the way.
fn step_by_step(folder: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut reached: Option<OwnedFd> = None;
    let mut names = path.components().peekable();
    while let Some(name) = names.next() {
        if !matches!(name, Component::Normal(_) | Component::CurDir) {
            return Err(Errno::XDEV);
        }
        let from = reached.as_ref().map_or(folder, AsFd::as_fd);
        let flags = if names.peek().is_some() { FOLDER } else { flags };
        reached = Some(fs::openat(from, name.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty())?);
    }
    reached.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

    /// `root` with a file, a folder with a file, and links of every kind; `outside` beside it.
    fn tree() -> (tempfile::TempDir, Folder) {
        let disk = tempfile::tempdir().unwrap();
        let (root, outside) = (disk.path().join("root"), disk.path().join("outside"));
        std::fs::create_dir_all(root.join("deep/deeper")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(root.join("a"), "inside").unwrap();
        std::fs::write(root.join("deep/deeper/b"), "inside").unwrap();
        std::fs::write(outside.join("b"), "outside").unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("deep", root.join("within")).unwrap();
        symlink("a", root.join("file")).unwrap();
        let folder = Folder::open(&root).unwrap();
        (disk, folder)
    }

    #[test]
    fn nothing_is_reached_through_a_link_or_above_the_folder_with_openat2_and_without() {
        let (_disk, root) = tree();
        for reach in [
            |root: &Folder, path: &str| root.reach(Path::new(path), READ).map(drop),
            |root: &Folder, path: &str| {
                step_by_step(root.0.as_fd(), Path::new(path), READ).map(drop).map_err(io::Error::from)
            },
        ] {
            for path in ["a", "deep", "deep/deeper/b", "."] {
                reach(&root, path).unwrap_or_else(|error| panic!("{path}: {error}"));
            }
            for path in [
                "absolute",
                "absolute/b",
                "relative/b",
                "within/deeper/b",
                "file",
                "../outside/b",
                "/etc/passwd",
            ] {
                let error = reach(&root, path).expect_err(path);
                let errno = Errno::from_io_error(&error).unwrap();
                assert!(matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::XDEV), "{path}: {error}");
            }
            assert_eq!(reach(&root, "deep/absent").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_folder_that_becomes_a_link_while_it_is_open_is_still_that_folder() {
        let (disk, root) = tree();
        let deep = root.below(Path::new("deep/deeper")).unwrap();
        std::fs::rename(disk.path().join("root/deep"), disk.path().join("aside")).unwrap();
        std::fs::create_dir(disk.path().join("outside/deeper")).unwrap();
        std::fs::write(disk.path().join("outside/deeper/b"), "outside").unwrap();
        symlink(disk.path().join("outside"), disk.path().join("root/deep")).unwrap();
        deep.entry(OsStr::new("b")).remove().unwrap();
        assert!(disk.path().join("outside/deeper/b").exists());
        assert!(root.status(Path::new("deep/deeper/b")).is_err());
        assert_eq!(deep.entries().unwrap().count(), 2, "`.` and `..`");
    }

    #[test]
    fn folders_are_made_below_and_never_through_a_link() {
        let (disk, root) = tree();
        root.make(Path::new("deep/new/newer")).unwrap().sync().unwrap();
        assert!(disk.path().join("root/deep/new/newer").is_dir());
        assert!(root.make(Path::new("absolute/new")).is_err());
        assert!(!disk.path().join("outside/new").exists());
        assert_eq!(root.make(Path::new("a/new")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_name_that_is_taken_is_not_renamed_over() {
        let (disk, root) = tree();
        let deep = root.below(Path::new("deep/deeper")).unwrap();
        let (a, b) = (root.entry(OsStr::new("a")), deep.entry(OsStr::new("b")));
        assert_eq!(a.rename_new(b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(b.create().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        b.remove().unwrap();
        a.rename_new(b).unwrap();
        assert!(disk.path().join("root/deep/deeper/b").exists());
    }
}
