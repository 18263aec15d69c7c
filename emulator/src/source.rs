//! Turns the source in a request into a file on disk with a hash: data URLs, http(s) URLs, uploads of the storage.

use std::io::Write;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::media::{Media, MediaError};
use crate::service::Service;

/// The limit of the service on the encoded text of one data URL.
pub const DATA_URL_ENCODED_BYTES: usize = 10_485_760;

/// Audio that has been received. The file is removed when this is dropped, unless it is an upload, which the storage owns.
pub struct Received {
    pub sha256: String,
    pub bytes: u64,
    place: Place,
}

enum Place {
    Temporary(NamedTempFile),
    Stored(PathBuf),
}

/// Why there is no audio.
#[derive(Debug, Error)]
pub enum SourceError {
    #[error("not a data URL of audio in base64")]
    MalformedDataUrl,
    #[error("the data URL has {0} encoded bytes")]
    DataUrlTooLarge(usize),
    #[error("\"{0}\" is not a URL that can be downloaded")]
    MalformedUrl(String),
    #[error("the file server answered {0}")]
    Status(StatusCode),
    #[error("the file server did not say the length of the file")]
    NoContentLength,
    #[error("the file has more than {0} bytes")]
    TooLarge(u64),
    #[error("the download took too long")]
    Timeout,
    #[error("the download failed: {0}")]
    Download(reqwest::Error),
    #[error("cannot store the audio: {0}")]
    Io(#[from] std::io::Error),
}

impl Received {
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::Temporary(file) => file.path(),
            Place::Stored(path) => path,
        }
    }

    /// Parses the file on a thread for blocking work, where a panic of the parser does no harm.
    pub async fn probe(&self) -> Result<Media, MediaError> {
        let path = self.path().to_path_buf();
        match tokio::task::spawn_blocking(move || Media::probe(&path)).await {
            Ok(media) => media,
            Err(_) => Err(MediaError::UnknownContainer),
        }
    }
}

/// Decodes a `data:` URL. Blocking: up to 10 MB of base64.
pub fn from_data_url(directory: &Path, url: &str) -> Result<Received, SourceError> {
    let (mime, encoded) = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','))
        .and_then(|(head, encoded)| Some((head.strip_suffix(";base64")?, encoded)))
        .ok_or(SourceError::MalformedDataUrl)?;
    if !(mime.starts_with("audio/") || mime.starts_with("video/")) {
        return Err(SourceError::MalformedDataUrl);
    }
    if encoded.len() > DATA_URL_ENCODED_BYTES {
        return Err(SourceError::DataUrlTooLarge(encoded.len()));
    }
    let audio = STANDARD.decode(encoded).map_err(|_| SourceError::MalformedDataUrl)?;
    let mut incoming = Incoming::new(directory, u64::MAX)?;
    incoming.bytes = audio.len() as u64;
    incoming.waiting = audio;
    Ok(incoming.finish()?.into_received())
}

/// The headers of a request that concern its URL.
pub struct Wanted<'a> {
    pub url: &'a str,
    pub model: &'a str,
    /// Whether the request has the header that lets the service resolve `oss://` URLs of its own storage.
    pub resolve_oss: bool,
    pub require_content_length: bool,
    pub limit_bytes: u64,
}

/// Fetches what an `http(s)` or `oss` URL names.
pub async fn from_url(service: &Service, wanted: Wanted<'_>) -> Result<Received, SourceError> {
    let Some(key) = wanted.url.strip_prefix("oss://") else { return from_http_url(service, wanted).await };
    if !wanted.resolve_oss {
        return Err(SourceError::MalformedUrl(wanted.url.to_owned()));
    }
    let found = service.storage.find(key, wanted.model).map_err(SourceError::Status)?;
    if found.bytes > wanted.limit_bytes {
        return Err(SourceError::TooLarge(wanted.limit_bytes));
    }
    Ok(Received { sha256: found.sha256, bytes: found.bytes, place: Place::Stored(found.path) })
}

/// Downloads as the service does: without a key, with one time-out, to disk.
async fn from_http_url(service: &Service, wanted: Wanted<'_>) -> Result<Received, SourceError> {
    let Wanted { url, require_content_length, limit_bytes, .. } = wanted;
    let parsed = url::Url::parse(url).map_err(|_| SourceError::MalformedUrl(url.to_owned()))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(SourceError::MalformedUrl(url.to_owned()));
    }
    let download = async {
        let mut response = service.http.get(parsed).send().await.map_err(SourceError::Download)?;
        if !response.status().is_success() {
            return Err(SourceError::Status(response.status()));
        }
        if require_content_length && !response.headers().contains_key(header::CONTENT_LENGTH) {
            return Err(SourceError::NoContentLength);
        }
        let mut incoming = Incoming::new(service.directory(), limit_bytes)?;
        while let Some(chunk) = response.chunk().await.map_err(SourceError::Download)? {
            incoming = incoming.push_elsewhere(chunk).await?;
        }
        Ok(incoming.finish()?.into_received())
    };
    match tokio::time::timeout(service.options.download_timeout, download).await {
        Ok(received) => received,
        Err(_) => Err(SourceError::Timeout),
    }
}

/// A file that grows on disk while it is hashed; memory holds one batch and a chunk.
pub struct Incoming {
    file: NamedTempFile,
    hash: Sha256,
    waiting: Vec<u8>,
    bytes: u64,
    limit_bytes: u64,
}

/// A file that has been received completely and is not stored yet.
pub struct Arrived {
    pub file: NamedTempFile,
    pub sha256: String,
    pub bytes: u64,
}

impl Incoming {
    pub fn new(directory: &Path, limit_bytes: u64) -> std::io::Result<Incoming> {
        let file = tempfile::Builder::new().prefix("incoming-").tempfile_in(directory)?;
        Ok(Incoming { file, hash: Sha256::new(), waiting: Vec::new(), bytes: 0, limit_bytes })
    }

    /// Adds a chunk; hashing and writing happen in batches, on a thread for blocking work.
    pub async fn push_elsewhere(mut self, chunk: Bytes) -> Result<Incoming, SourceError> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(SourceError::TooLarge(self.limit_bytes));
        }
        self.waiting.extend_from_slice(&chunk);
        if self.waiting.len() < BATCH_BYTES {
            return Ok(self);
        }
        let written = tokio::task::spawn_blocking(move || self.write_waiting().map(|()| self)).await;
        Ok(written.map_err(std::io::Error::other)??)
    }

    /// Writes the rest. Blocking, for a batch at most.
    pub fn finish(mut self) -> std::io::Result<Arrived> {
        self.write_waiting()?;
        self.file.flush()?;
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Arrived { file: self.file, sha256, bytes: self.bytes })
    }

    fn write_waiting(&mut self) -> std::io::Result<()> {
        self.hash.update(&self.waiting);
        self.file.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

impl Arrived {
    fn into_received(self) -> Received {
        Received { sha256: self.sha256, bytes: self.bytes, place: Place::Temporary(self.file) }
    }
}

/// Large enough that a gigabyte costs a thousand hops between threads, small beside everything else in memory.
const BATCH_BYTES: usize = 1 << 20;
