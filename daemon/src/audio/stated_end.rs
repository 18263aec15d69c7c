//! The end that a container states in its header: a file that ends before it is cut off.

use std::io;

use super::signature::ASF_HEADER;
use super::source::Source;
use super::wav::is_placeholder;
use super::{chunks, matroska};

/// Within this many bytes a Flash video has its own description.
const SCRIPT_DATA: usize = 16 << 10;

/// The most lists of an AVI file, each of which has a gigabyte or two.
const MOST_LISTS: usize = 1_000;

/// The end that the header of the container at `start` states; `None`: nothing tells it, or its recorder could not know it.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn stated_end(source: &Source, start: u64, format: &str) -> io::Result<Option<u64>> {
    let head = source.copy(start, 32)?;
    let long = |at: usize| head.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four));
    let sized = |size: u32, more: u64| (!is_placeholder(u64::from(size))).then(|| u64::from(size) + more);
    let length = match format {
        "aiff" | "caf" => return chunks::end(source, start, format),
        "avi" => return avi(source, start),
        // The offset of its audio, and the size.
        "au" => long(4).zip(long(8)).and_then(|(offset, size)| sized(size, u64::from(offset))),
        "w64" => head.get(16..).and_then(|rest| rest.first_chunk()).map(|eight| u64::from_le_bytes(*eight)),
        "flv" => flv(&source.copy(start, SCRIPT_DATA)?),
        "wma" | "wmv" => asf(&source.copy(start, ASF_HEADER)?),
        "mkv" | "webm" => return matroska::end(source, start),
        _ => None,
    };
    Ok(length.map(|length| start.saturating_add(length)))
}

/// The end of the last of the lists that follow each other.
fn avi(source: &Source, start: u64) -> io::Result<Option<u64>> {
    let mut end = start;
    for _ in 0..MOST_LISTS {
        let head = source.copy(end, 12)?;
        let Some([b'R', b'I', b'F', b'F', a, b, c, d, b'A', b'V', b'I', _]) = head.first_chunk() else {
            break;
        };
        let size = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
        if is_placeholder(size) {
            return Ok(None);
        }
        end = end.saturating_add(size + 8);
    }
    Ok((end > start).then_some(end))
}

/// The size of the file that a recorder fills in at its end, if it can go back.
fn flv(header: &[u8]) -> Option<u64> {
    // A name with its length, and the type of a number.
    const NAME: &[u8] = b"\0\x08filesize\0";
    let at = header.windows(NAME.len()).position(|name| name == NAME)? + NAME.len();
    let size = header.get(at..)?.first_chunk().map(|eight| f64::from_be_bytes(*eight))?;
    (size > 0.0).then_some(size as u64)
}

/// The size of the file by the File Properties object, unless it was written as a broadcast.
fn asf(header: &[u8]) -> Option<u64> {
    const FILE_PROPERTIES: [u8; 16] =
        [0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11, 0x8e, 0xe4, 0, 0xc0, 0x0c, 0x20, 0x53, 0x65];
    let at = header.windows(FILE_PROPERTIES.len()).position(|id| id == FILE_PROPERTIES)?;
    let object = &header[at..];
    let is_broadcast = object.get(88)? & 1 == 1;
    let size = object.get(40..)?.first_chunk().map(|eight| u64::from_le_bytes(*eight));
    size.filter(|_| !is_broadcast)
}
