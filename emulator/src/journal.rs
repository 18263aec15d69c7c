//! The service's own record of requests and charges, one JSON line each.
//!
//! A line is written before the answer is sent: an answer that is lost on the way is in the journal nevertheless.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// An append-only file of [`Entry`] lines.
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A synchronous recognition.
    Flash,
    /// A filetrans task was submitted.
    Submit,
    /// A filetrans task ended; `charged_seconds` is in this line, not in the submit's.
    Task,
    Query,
    List,
    Cancel,
    Policy,
    Upload,
    Result,
}

/// One line. Fields that do not apply are left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// RFC 3339, UTC.
    pub time: String,
    pub kind: Kind,
    pub request_id: String,
    /// `ok`, the code of the refusal, or the code with which a task failed.
    pub outcome: String,
    /// Status of the answer; absent if the emulator gave no answer, or if the line is no request (kind `task`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<u16>,
    /// First and last letters of the key only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Hash of the audio bytes, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// The URL that the request named (a data URL is not repeated here), or `oss://<key>` of an upload.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channels: Option<Vec<u32>>,
    /// Present when, and only when, this line costs money.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub charged_seconds: Option<u64>,
    /// Kinds of the faults that were applied to this request.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub faults: Vec<String>,
}

impl Journal {
    /// Opens for appending; earlier lines stay.
    pub fn open(path: &Path) -> anyhow::Result<Journal> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("opening the journal {}", path.display()))?;
        Ok(Journal { path: path.to_path_buf(), file: Mutex::new(file) })
    }

    /// Appends one line. If that fails, the emulator logs an error: a test must not trust a journal that lacks lines.
    pub fn write(&self, entry: &Entry) {
        let written = serde_json::to_vec(entry).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            file.write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!(path = %self.path.display(), %error, "a journal line is lost");
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Entry {
    /// An entry with the present time and its kind; all else is unknown yet.
    pub fn new(kind: Kind, request_id: &str) -> Entry {
        Entry {
            time: jiff::Timestamp::now().to_string(),
            kind,
            request_id: request_id.to_owned(),
            outcome: "ok".to_owned(),
            http_status: None,
            key: None,
            model: None,
            sha256: None,
            bytes: None,
            file_url: None,
            task_id: None,
            task_status: None,
            channels: None,
            charged_seconds: None,
            faults: Vec::new(),
        }
    }
}
