//! Checks before a library is opened: its owner and mode, its digest, and that its bytes do not change afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// Bytes at the beginning of an ELF file that tell the machine that it was built for.
const HEAD: usize = 20;
const NOT_ELF: &str =
    "it is not a shared library (ELF); it must be built for Linux as a cdylib, or with cc -shared";

/// The bytes of a verified library, in memory that no process can change any more.
#[derive(Debug)]
pub struct Verified {
    /// A sealed memfd.
    pub bytes: OwnedFd,
    /// Lower-case hex.
    pub sha256: String,
}

/// Checks owner and mode of the library and its folder, copies the bytes into sealed memory, and compares their digest with `pinned` unless
/// that is empty. The bytes that are loaded later are exactly the checked ones, even if the file changes.
///
/// # Errors
/// A sentence that says why the library is not opened, and what to do if the operator can correct it.
pub fn verify(path: &Path, pinned: &str) -> Result<Verified, String> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            "it does not exist; build or install it there, or correct the path".to_owned()
        }
        _ => format!("it cannot be read: {error}"),
    };
    // Links are followed: a link to a versioned file beside it is a common way to install libraries.
    let real = path.canonicalize().map_err(unreadable)?;
    for folder in folders(path, &real) {
        trusted(folder, &folder.metadata().map_err(unreadable)?)?;
    }
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&real);
    let mut file = file.map_err(unreadable)?;
    let before = file.metadata().map_err(unreadable)?;
    trusted(&real, &before)?;
    if !before.is_file() {
        return Err("it is not a regular file".to_owned());
    }

    let copied = |error: io::Error| format!("it cannot be copied into memory: {error}");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("hark-plugin", flags).map_err(|error| copied(error.into()))?;
    let mut memory = File::from(memory);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        memory.write_all(&buffer[..count]).map_err(copied)?;
    }
    if identity(&before) != identity(&file.metadata().map_err(unreadable)?) {
        return Err("it changed while it was read; install by rename, not by overwriting".to_owned());
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).map_err(|error| copied(error.into()))?;
    is_for_this_machine(&memory)?;

    let sha256 = hex(&hasher.finalize());
    if !pinned.is_empty() && !pinned.eq_ignore_ascii_case(&sha256) {
        return Err(format!(
            "it has sha256 {sha256}, but the config pins {pinned}; install the pinned one, or correct `sha256`"
        ));
    }
    Ok(Verified { bytes: memory.into(), sha256 })
}

/// Compares a library's header with this program's: for a library of another machine, the loader's message only says that no file was found.
fn is_for_this_machine(library: &File) -> Result<(), String> {
    let head = |file: &File| {
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, 0).map(|()| head)
    };
    let (Ok(found), Ok(own)) = (head(library), File::open("/proc/self/exe").and_then(|file| head(&file)))
    else {
        return Err(NOT_ELF.to_owned());
    };
    if !found.starts_with(b"\x7fELF") {
        return Err(NOT_ELF.to_owned());
    }
    // Bits, byte order and machine number.
    let machine = |head: [u8; HEAD]| [head[4], head[5], head[18], head[19]];
    if machine(found) != machine(own) {
        return Err(format!(
            "it was built for another machine, and this harkd for {}; build it for this machine",
            std::env::consts::ARCH
        ));
    }
    Ok(())
}

/// The folders of a library, separated by `:`, in which the loader may search for its dependencies: a library that is opened from memory
/// has no `$ORIGIN`. The result is empty if one of the folders is not trusted (which [`verify`] reports), or if its path has a character that
/// such a list cannot hold.
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
    /// Time of the last change including mode and owner: a library that was refused for these may have been corrected.
    changed: (i64, i64),
}

/// The identity of a file.
pub fn identity(metadata: &Metadata) -> Identity {
    Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn trusted(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let (path, daemon) = (path.display(), rustix::process::geteuid().as_raw());
    let owner = metadata.uid();
    if owner != 0 && owner != daemon {
        return Err(format!(
            "{path} belongs to user {owner}; a library and its folder must belong to root or to user {daemon}, who runs the daemon (chown)"
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!(
            "{path} has mode {mode:04o}; a library and its folder must be writable only by their owner (chmod go-w)"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

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
        let mut head = vec![0; HEAD];
        File::open("/proc/self/exe").unwrap().read_exact(&mut head).unwrap();
        head
    }

    fn refusal(path: &Path, pinned: &str) -> String {
        verify(path, pinned).unwrap_err()
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
        write(&path, &head).unwrap();
        assert!(refusal(&path, "").starts_with("it was built for another machine, and this harkd for "));
        let mut head = elf();
        head[4] = 1;
        write(&path, &head).unwrap();
        assert!(refusal(&path, "").starts_with("it was built for another machine"));
    }

    #[test]
    fn a_pin_may_be_written_in_capitals() {
        let (_folder, path) = library();
        let sha256 = verify(&path, "").unwrap().sha256;
        verify(&path, &sha256.to_uppercase()).unwrap();
    }
}
