//! The object storage beside the service: temporary uploads by policy, result files by signed URL. It has its own listener, its own format
//! of errors, and needs no API key.

pub mod policy;
pub mod results;
pub mod upload;
mod xml;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tempfile::TempPath;

pub use xml::XmlRefusal;

/// The objects in the storage, by key.
pub struct Storage {
    /// Known only to this process: policies and URLs of another process are not valid here.
    secret: String,
    uploads: Mutex<HashMap<String, Upload>>,
    results: Mutex<HashMap<String, ResultFile>>,
}

/// One uploaded object. Dropping it removes its file.
struct Upload {
    file: TempPath,
    sha256: String,
    bytes: u64,
    model: String,
    ends: Instant,
}

/// One result file under its path on the storage's listener.
struct ResultFile {
    file: TempPath,
    /// The query exactly as it was issued.
    query: String,
    ends: Instant,
}

/// An upload as a recognition finds it.
pub struct Found {
    pub path: PathBuf,
    pub sha256: String,
    pub bytes: u64,
}

impl Storage {
    pub fn new() -> Storage {
        let secret = format!("{}{}", uuid::Uuid::now_v7(), std::process::id());
        Storage { secret, uploads: Mutex::default(), results: Mutex::default() }
    }

    /// The upload behind `oss://<key>`, if this model may use it.
    pub fn find(&self, key: &str, model: &str) -> Result<Found, StatusCode> {
        let uploads = self.uploads.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match uploads.get(key) {
            Some(upload) if upload.ends <= Instant::now() => Err(StatusCode::NOT_FOUND),
            Some(upload) if upload.model != model => Err(StatusCode::FORBIDDEN),
            Some(upload) => Ok(Found {
                path: upload.file.to_path_buf(),
                sha256: upload.sha256.clone(),
                bytes: upload.bytes,
            }),
            None => Err(StatusCode::NOT_FOUND),
        }
    }

    /// Removes what has expired, files included.
    pub fn sweep(&self, now: Instant) {
        let expired = |ends: Instant| ends + LINGER <= now;
        self.uploads
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .retain(|_, upload| !expired(upload.ends));
        self.results
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .retain(|_, result| !expired(result.ends));
    }

    /// A signature of this storage over a text.
    fn sign(&self, text: &str) -> String {
        let digest =
            Sha256::new().chain_update(&self.secret).chain_update("\n").chain_update(text).finalize();
        STANDARD.encode(&digest[..20])
    }
}

impl Default for Storage {
    fn default() -> Storage {
        Storage::new()
    }
}

/// How long the storage remembers an expired object, so that it refuses it as expired, not as unknown.
const LINGER: Duration = Duration::from_secs(600);
