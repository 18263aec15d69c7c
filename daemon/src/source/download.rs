//! Fetches a recording into a file of this machine: complete afterwards, or absent.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::url::UrlRefused;
use crate::hex::hex;
use crate::os::private;

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Size in bytes.
    pub bytes: u64,
    /// In hex.
    pub sha256: String,
}

/// Why a recording could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Unfetched {
    /// The URL, or a URL that it redirects to, may not be opened.
    #[error(transparent)]
    Forbidden(#[from] UrlRefused),
    /// The server refuses it.
    #[error("the server of the audio URL answered {0}")]
    Refused(String),
    /// There is no such object.
    #[error("{0}")]
    Absent(String),
    /// More bytes than may be fetched.
    #[error("the recording is larger than what may be fetched")]
    TooLarge,
    /// The server did not answer, or not to the end; it may later.
    #[error("{0}")]
    NotNow(String),
    /// The file could not be written.
    #[error("writing a fetched recording: {0}")]
    Disk(#[from] io::Error),
}

/// A file that is being filled. Memory: one chunk.
pub(super) struct Download {
    file: tokio::fs::File,
    hasher: Sha256,
    bytes: u64,
    most: u64,
}

impl Download {
    /// Creates the file, which takes at most `most` bytes.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(into: &Path, most: u64) -> io::Result<Download> {
        let file = tokio::fs::File::from_std(private::create_file(into)?);
        Ok(Download { file, hasher: Sha256::new(), bytes: 0, most })
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// [`Unfetched::TooLarge`], [`Unfetched::Disk`].
    pub async fn add(&mut self, chunk: &[u8]) -> Result<(), Unfetched> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.most {
            return Err(Unfetched::TooLarge);
        }
        self.hasher.update(chunk);
        Ok(self.file.write_all(chunk).await?)
    }

    /// Syncs the file to disk.
    ///
    /// # Errors
    /// [`Unfetched::Disk`].
    pub async fn finish(self) -> Result<Fetched, Unfetched> {
        self.file.sync_all().await?;
        Ok(Fetched { bytes: self.bytes, sha256: hex(&self.hasher.finalize()) })
    }
}

/// The outcome of a download into a file, which is removed if it failed: what is left of it would take up space until the next start.
pub(super) async fn whole_or_absent(
    into: &Path,
    fetched: Result<Fetched, Unfetched>,
) -> Result<Fetched, Unfetched> {
    if fetched.is_err() {
        // It may not have been created.
        let _ = tokio::fs::remove_file(into).await;
    }
    fetched
}
