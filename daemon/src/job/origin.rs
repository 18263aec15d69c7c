//! Where the bytes of a recording are.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Where the bytes of a recording are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// A file in a watched folder, with the identity that it had when it was hashed.
    File {
        /// The watched folder, absolute: the path that the operator has configured. Bytes, not text.
        #[serde(with = "raw_path")]
        root: PathBuf,
        /// The path below `root`; other users may change what is there.
        #[serde(with = "raw_path")]
        below: PathBuf,
        /// From `stat`.
        identity: FileIdentity,
    },
    /// Bytes that came in a message, stored in the state directory's spool.
    Spool {
        /// File name below `spool/`.
        file: String,
    },
    /// A URL from which the service fetches the recording.
    Url {
        /// With its query, which is a secret of the sender and never appears in an event or a log.
        url: String,
    },
    /// The object that [`super::Job::object`] names: it is fetched into the spool before anything else is done.
    Object,
    /// No recording: the daemon refused the input when it came.
    #[default]
    Nothing,
}

/// Quick identity of a file. Equal identities mean equal bytes, except before a request that costs: there the hash is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i64,
}

impl FileIdentity {
    /// Whether `other` has the same size and mtime: at the same path, or with the same inode number, it is then the same file.
    pub fn is_unchanged(&self, other: &FileIdentity) -> bool {
        (self.size, self.mtime_ns) == (other.size, other.mtime_ns)
    }
}

/// A path's bytes in JSON: a string where they are UTF-8, else `{"b64": …}`.
mod raw_path {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum PathForm {
        Text(String),
        Bytes { b64: String },
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => PathForm::Text(text.to_owned()),
            None => PathForm::Bytes { b64: STANDARD.encode(path.as_os_str().as_bytes()) },
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match PathForm::deserialize(deserializer)? {
            PathForm::Text(text) => PathBuf::from(text),
            PathForm::Bytes { b64 } => {
                PathBuf::from(OsString::from_vec(STANDARD.decode(b64).map_err(D::Error::custom)?))
            }
        })
    }
}
