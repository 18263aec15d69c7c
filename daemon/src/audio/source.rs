//! The file as the parsers read it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use symphonia::core::formats::FormatReader;
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};

use super::ProbeError;
use super::outside::Daemon;

/// A file that is read by position: the worker's descriptor shares its offset with the daemon's, and the daemon may be reading as well.
#[derive(Debug)]
pub(super) struct Source {
    file: Arc<File>,
    length: u64,
    window: Vec<u8>,
    window_start: u64,
    daemon: Option<Daemon>,
}

/// How many bytes are read at once, and the most that is kept in memory of a file.
const WINDOW: usize = 16 << 10;

impl Source {
    /// The length is the file's present length; bytes that are appended later are not read.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Source { file: Arc::new(file), length, window: Vec::new(), window_start: 0, daemon: None })
    }

    /// The same file, with access to the daemon, which can start ffmpeg for what symphonia cannot decode.
    pub(super) fn with(self, daemon: Daemon) -> Self {
        Source { daemon: Some(daemon), ..self }
    }

    /// What ffmpeg makes of the file with this demuxer.
    ///
    /// # Errors
    /// When there is no ffmpeg, it cannot be started, or it decodes nothing of the file (see [`Daemon::decode`]).
    pub(super) fn decoded(&self, demuxer: &str) -> Result<Box<dyn FormatReader>, ProbeError> {
        let daemon = self.daemon.as_ref().ok_or_else(|| ProbeError::NoFfmpeg("it".into()))?;
        daemon.decode(demuxer)
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Up to `count` bytes from `offset`, fewer only at the end of the file; `count` is at most 16 KiB.
    pub(super) fn peek(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let wanted = self.length.saturating_sub(offset).min(count.min(WINDOW) as u64) as usize;
        if self.held(offset) < wanted {
            self.window.resize(WINDOW, 0);
            let read = read_at(&self.file, &mut self.window, offset)?;
            self.window.truncate(read);
            self.window_start = offset;
        }
        let start = offset.saturating_sub(self.window_start).min(self.window.len() as u64) as usize;
        let end = start.saturating_add(wanted).min(self.window.len());
        Ok(&self.window[start..end])
    }

    /// How many bytes from `offset` on the window holds.
    fn held(&self, offset: u64) -> usize {
        let end = self.window_start + self.window.len() as u64;
        if offset < self.window_start { 0 } else { end.saturating_sub(offset) as usize }
    }

    /// Up to `count` bytes from `offset`, copied.
    pub(super) fn copy(&self, offset: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count.min(self.length.saturating_sub(offset) as usize)];
        let read = read_at(&self.file, &mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// A part of the file as symphonia reads it. Reads never leave the part; a part that extends behind the file ends with the file.
    pub(super) fn part(&self, bytes: Range<u64>) -> MediaSourceStream<'static> {
        self.part_behind(Vec::new(), bytes)
    }

    /// As [`Self::part`], behind a header that is not in the file.
    pub(super) fn part_behind(&self, header: Vec<u8>, bytes: Range<u64>) -> MediaSourceStream<'static> {
        self.stream(header, bytes, true)
    }

    /// As [`Self::part_behind`], for readers that would go to a place behind the end of the file: they can only read on.
    pub(super) fn forward_behind(&self, header: Vec<u8>, bytes: Range<u64>) -> MediaSourceStream<'static> {
        self.stream(header, bytes, false)
    }

    fn stream(&self, header: Vec<u8>, bytes: Range<u64>, is_seekable: bool) -> MediaSourceStream<'static> {
        let part = Part { file: self.file.clone(), header, bytes, position: 0, is_seekable };
        MediaSourceStream::new(Box::new(part), MediaSourceStreamOptions::default())
    }
}

/// Fills the buffer from `offset` of the file; reads less only at the end of the file.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Part {
    file: Arc<File>,
    header: Vec<u8>,
    bytes: Range<u64>,
    /// Within the part.
    position: u64,
    is_seekable: bool,
}

impl Part {
    fn length(&self) -> u64 {
        self.header.len() as u64 + self.bytes.end.saturating_sub(self.bytes.start)
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let header = self.header.get(self.position as usize..).filter(|header| !header.is_empty());
        if let Some(mut header) = header {
            let count = header.read(buffer)?;
            self.position += count as u64;
            return Ok(count);
        }
        let offset = self.bytes.start.saturating_add(self.position - self.header.len() as u64);
        let left = self.bytes.end.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let count = read_at(&self.file, &mut buffer[..left], offset)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl MediaSource for Part {
    fn is_seekable(&self) -> bool {
        self.is_seekable
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length())
    }
}
