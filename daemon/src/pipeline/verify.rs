//! Checks before a library is opened: its owner and mode, its digest, and that its bytes do not change afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest, Sha256};

use super::machine::Machine;

/// The bytes of a verified library, in memory that no process can change any more.
#[derive(Debug)]
pub struct Verified {
    /// A sealed memfd.
    pub bytes: OwnedFd,
    /// Lower-case hex.
    pub sha256: String,
}

/// Why a library is not opened. Every message names the file, and what to do if the operator can correct it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("library {path} does not exist; install it there, or correct `library` of the plugin")]
    Missing { path: PathBuf },
    #[error("library {path} cannot be read: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("library {path} is not a regular file")]
    NoFile { path: PathBuf },
    #[error(
        "library {path} is not a shared library (ELF); it must be built for Linux as a cdylib, or with cc -shared"
    )]
    NotElf { path: PathBuf },
    #[error("library {path} was built for {found}, and this harkd for {own}; build it for this machine")]
    Machine { path: PathBuf, found: Machine, own: Machine },
    #[error(
        "{path} belongs to user {owner}; a library and its folder must belong to root or to user {daemon}, who runs the daemon (chown)"
    )]
    Owner { path: PathBuf, owner: u32, daemon: u32 },
    #[error(
        "{path} has mode {mode:04o}; a library and its folder must be writable only by their owner (chmod go-w)"
    )]
    Mode { path: PathBuf, mode: u32 },
    #[error(
        "library {path} has sha256 {found}, but the config pins {pinned}; install the pinned one, or correct `sha256`"
    )]
    Pin { path: PathBuf, found: String, pinned: String },
    #[error("library {path} changed while it was read; install by rename, not by overwriting")]
    Changed { path: PathBuf },
    #[error("keeping a copy of library {path} in memory: {error}")]
    Copy { path: PathBuf, error: io::Error },
}

/// Checks owner and mode of the library and its folder, copies the bytes into sealed memory, and compares their digest with `pinned` unless
/// that is empty. The bytes that are loaded later are exactly the checked ones, even if the file changes.
///
/// # Errors
/// See [`Refusal`].
pub fn verify(path: &Path, pinned: &str) -> Result<Verified, Refusal> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::Missing { path: path.to_owned() },
        _ => Refusal::Unreadable { path: path.to_owned(), error },
    };
    // Links are followed: a link to a versioned file beside it is a common way to install libraries.
    let real = path.canonicalize().map_err(unreadable)?;
    for folder in folders(path, &real) {
        trusted(folder, &folder.metadata().map_err(unreadable)?)?;
    }
    if !real.metadata().map_err(unreadable)?.is_file() {
        return Err(Refusal::NoFile { path: real });
    }
    let mut file = File::open(&real).map_err(unreadable)?;
    let before = file.metadata().map_err(unreadable)?;
    if !before.is_file() {
        return Err(Refusal::NoFile { path: real });
    }
    trusted(&real, &before)?;

    let copy = |error: io::Error| Refusal::Copy { path: real.clone(), error };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut memory =
        File::from(rustix::fs::memfd_create("hark-plugin", flags).map_err(|error| copy(error.into()))?);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut first = true;
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if std::mem::take(&mut first) {
            let Some(found) = Machine::of(&buffer[..count]) else {
                return Err(Refusal::NotElf { path: real });
            };
            let own = Machine::own().map_err(unreadable)?;
            if found != own {
                return Err(Refusal::Machine { path: real, found, own });
            }
        }
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        memory.write_all(&buffer[..count]).map_err(copy)?;
    }
    if identity(&before) != identity(&file.metadata().map_err(unreadable)?) {
        return Err(Refusal::Changed { path: real });
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).map_err(|error| copy(error.into()))?;

    let found = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if !pinned.is_empty() && !pinned.eq_ignore_ascii_case(&found) {
        return Err(Refusal::Pin { path: real, found, pinned: pinned.to_owned() });
    }
    Ok(Verified { bytes: memory.into(), sha256: found })
}

/// The folders of a library, separated by `:`, in which the loader may search for its dependencies: a library that is opened from memory
/// has no `$ORIGIN`. Empty if one of the folders is not trusted, which [`verify`] reports, or has a character in its path that the list
/// cannot hold.
pub fn library_path(path: &Path) -> OsString {
    let is_fit = |folder: &Path| {
        let is_trusted = folder.metadata().is_ok_and(|metadata| trusted(folder, &metadata).is_ok());
        is_trusted && !folder.as_os_str().as_encoded_bytes().iter().any(|byte| b":;$".contains(byte))
    };
    let Ok(real) = path.canonicalize() else { return OsString::new() };
    let [folder, of_real] = folders(path, &real);
    match is_fit(folder) && is_fit(of_real) {
        true => [folder, of_real].map(Path::as_os_str).join(OsStr::new(":")),
        false => OsString::new(),
    }
}

/// The folder of the library's path, and the folder of the file that the path resolves to.
fn folders<'p>(path: &'p Path, real: &'p Path) -> [&'p Path; 2] {
    [path, real].map(|file| match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    })
}

/// Metadata by which the daemon detects a new library at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    /// Time of the last change including mode and owner: a library that was refused for these may have been corrected.
    changed: (i64, i64),
}

/// The identity of a file.
pub fn identity(metadata: &Metadata) -> Identity {
    Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        written: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn trusted(path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
    let daemon = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner != 0 && owner != daemon {
        return Err(Refusal::Owner { path: path.to_owned(), owner, daemon });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(Refusal::Mode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn library() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libx.so");
        write(&path, elf()).unwrap();
        set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        (folder, path)
    }

    /// The ELF header of a program of this machine type.
    fn elf() -> Vec<u8> {
        let mut head = vec![0; Machine::HEAD];
        File::open("/proc/self/exe").unwrap().read_exact(&mut head).unwrap();
        head
    }

    fn refusal(path: &Path, pinned: &str) -> String {
        verify(path, pinned).unwrap_err().to_string()
    }

    #[test]
    fn what_is_verified_is_what_stays() {
        let (_folder, path) = library();
        let Verified { bytes, sha256 } = verify(&path, "").unwrap();
        write(&path, b"something else").unwrap();
        let mut kept = Vec::new();
        let mut file =
            File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&bytes))).unwrap();
        file.read_to_end(&mut kept).unwrap();
        assert_eq!(kept, elf());
        assert!(File::from(bytes).write_all(b"x").is_err(), "sealed");
        assert_eq!(sha256.len(), 64);
    }

    #[test]
    fn a_library_that_others_may_write_is_refused() {
        let (folder, path) = library();
        set_permissions(&path, Permissions::from_mode(0o775)).unwrap();
        assert!(refusal(&path, "").ends_with("libx.so has mode 0775; a library and its folder must be writable only by their owner (chmod go-w)"));
        set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&path, "").contains("has mode 0777"));
    }

    #[test]
    fn a_link_leads_to_a_library_and_is_no_way_around_the_checks() {
        let (folder, path) = library();
        let other = tempfile::tempdir().unwrap();
        let link = other.path().join("liby.so");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        verify(&link, "").unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&link, "").contains("has mode 0777"));
    }

    #[test]
    fn what_is_no_library_is_named() {
        let (folder, path) = library();
        assert!(refusal(&folder.path().join("no.so"), "").contains("does not exist"));
        let inner = folder.path().join("folder.so");
        std::fs::create_dir(&inner).unwrap();
        assert!(refusal(&inner, "").contains("not a regular file"));
        let text = folder.path().join("text.so");
        write(&text, "hello").unwrap();
        assert!(refusal(&text, "").contains("not a shared library (ELF)"));
        write(&text, "").unwrap();
        assert!(refusal(&text, "").contains("not a shared library (ELF)"));
        assert!(refusal(&path, "00ff").contains("but the config pins 00ff"));
    }

    #[test]
    fn a_library_of_another_machine_is_named() {
        let (_folder, path) = library();
        let mut head = elf();
        (head[18], head[19]) = if head[18] == 183 { (62, 0) } else { (183, 0) };
        let name = if head[18] == 183 { "aarch64 of 64 bits" } else { "x86_64 of 64 bits" };
        write(&path, &head).unwrap();
        assert!(refusal(&path, "").contains(&format!("was built for {name}, and this harkd for ")));
        let mut head = elf();
        head[4] = 1;
        write(&path, &head).unwrap();
        assert!(refusal(&path, "").contains(" of 32 bits, and this harkd for "));
    }

    #[test]
    fn a_pin_may_be_written_in_capitals() {
        let (_folder, path) = library();
        let sha256 = verify(&path, "").unwrap().sha256;
        verify(&path, &sha256.to_uppercase()).unwrap();
    }
}
