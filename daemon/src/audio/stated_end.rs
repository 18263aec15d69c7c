//! Where a container says that it ends: a file that ends before that is cut off.

use std::io;

use super::chunks;
use super::signature::ASF_HEADER;
use super::source::Source;
use super::wav::is_placeholder;

/// The most elements of a Matroska file before its segment. Files have one or two.
const MOST_ELEMENTS: usize = 100;

/// The most bytes before its content. Files have some fifty.
const MOST_BEFORE_SEGMENT: u64 = 4 << 10;

/// The end that the header of the container at `start` states; `None`: the format has none, or its recorder could not know it.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn stated_end(source: &Source, start: u64, format: &str) -> io::Result<Option<u64>> {
    let head = source.copy(start, 32)?;
    let long = |at: usize| head.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four));
    let sized = |size: u32, more: u64| (!is_placeholder(u64::from(size))).then(|| u64::from(size) + more);
    let length = match format {
        "aiff" | "caf" => return chunks::end(source, start, format),
        "avi" => long(4).and_then(|size| sized(size.swap_bytes(), 8)),
        // The offset of its audio, and the size.
        "au" => long(4).zip(long(8)).and_then(|(offset, size)| sized(size, u64::from(offset))),
        "w64" => head.get(16..).and_then(|rest| rest.first_chunk()).map(|eight| u64::from_le_bytes(*eight)),
        "wma" | "wmv" => asf(&source.copy(start, ASF_HEADER)?),
        "mkv" | "webm" => return Ok(Segment::find(source, start)?.and_then(|segment| segment.end())),
        _ => None,
    };
    Ok(length.map(|length| start.saturating_add(length)))
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

/// The segment of a Matroska file: all but its first few bytes.
struct Segment {
    /// Where its size is written.
    size_at: u64,
    /// Where its content begins.
    content: u64,
    /// `None`: all bits of the size are ones, as its recorder could not know it.
    size: Option<u64>,
}

impl Segment {
    fn find(source: &Source, start: u64) -> io::Result<Option<Segment>> {
        const ID: [u8; 4] = [0x18, 0x53, 0x80, 0x67];
        let mut offset = start;
        for _ in 0..MOST_ELEMENTS {
            // Ids of the outermost level have four bytes, but for that of a void (0xec).
            let head = source.copy(offset, 12)?;
            let id = if head.first() == Some(&0xec) { 1 } else { 4 };
            let Some((size, bytes)) = head.get(id..).and_then(variable) else { break };
            let size_at = offset.saturating_add(id as u64);
            let content = size_at.saturating_add(bytes as u64);
            if head.starts_with(&ID) {
                return Ok(Some(Segment { size_at, content, size }));
            }
            let Some(size) = size else { break };
            offset = content.saturating_add(size);
        }
        Ok(None)
    }

    fn end(&self) -> Option<u64> {
        Some(self.content.saturating_add(self.size?))
    }
}

/// The begin of a Matroska file that is cut off, with no size for its segment, and where the rest is: symphonia reads no segment that ends
/// behind the file. `None`: the file is whole.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn without_size(source: &Source, start: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
    let segment = Segment::find(source, start)?;
    let is_cut = |segment: &Segment| {
        segment.end() > Some(source.length()) && segment.content - start <= MOST_BEFORE_SEGMENT
    };
    let Some(segment) = segment.filter(is_cut) else { return Ok(None) };
    let mut head = source.copy(start, (segment.content - start) as usize)?;
    let size = &mut head[(segment.size_at - start) as usize..];
    // The zeros before the first one tell how many bytes the number has.
    let first = 0xff >> (size.len() - 1);
    size.fill(0xff);
    size[0] = first;
    Ok(Some((head, segment.content)))
}

/// A number of EBML, `None` if all its bits are ones, and how many bytes it has.
fn variable(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let first = *bytes.first()?;
    let count = first.leading_zeros() as usize + 1;
    let rest = bytes.get(1..count)?;
    let most = 1_u64 << (7 * count);
    let number =
        rest.iter().fold(u64::from(first), |number, byte| number << 8 | u64::from(*byte)) & (most - 1);
    Some(((number != most - 1).then_some(number), count))
}
