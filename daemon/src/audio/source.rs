//! The file as the parsers read it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use symphonia::core::io::MediaSource;

/// A file that is read by position: the worker's descriptor shares its offset with the daemon's, and the daemon may be reading as well.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    length: u64,
    position: u64,
    window: Vec<u8>,
    window_start: u64,
}

/// How many bytes are read at once, and the most that is kept in memory of a file.
const WINDOW: usize = 128 << 10;

impl Source {
    /// The length is the file's present length; bytes that are appended later are not read.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Source { file, length, position: 0, window: Vec::new(), window_start: 0 })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Up to `count` bytes from `offset`, fewer only at the end of the file; `count` is at most 128 KiB.
    pub(super) fn peek(&mut self, offset: u64, count: usize) -> io::Result<&[u8]> {
        let wanted = self.length.saturating_sub(offset).min(count.min(WINDOW) as u64) as usize;
        if self.held(offset) < wanted {
            self.window = self.copy(offset, WINDOW)?;
            self.window_start = offset;
        }
        let start = offset.saturating_sub(self.window_start).min(self.window.len() as u64) as usize;
        let end = start.saturating_add(wanted).min(self.window.len());
        Ok(&self.window[start..end])
    }

    /// Up to `count` bytes from `offset`, copied, for the one caller that needs more than [`Self::peek`] returns.
    pub(super) fn copy(&self, offset: u64, count: usize) -> io::Result<Vec<u8>> {
        let wanted = self.length.saturating_sub(offset).min(count as u64) as usize;
        let mut bytes = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// How many bytes from `offset` on the window holds.
    fn held(&self, offset: u64) -> usize {
        let end = self.window_start + self.window.len() as u64;
        if offset < self.window_start { 0 } else { end.saturating_sub(offset) as usize }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.position).min(buffer.len() as u64) as usize;
        let count = self.file.read_at(&mut buffer[..left], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}
