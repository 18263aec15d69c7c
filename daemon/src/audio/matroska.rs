//! Where a Matroska file, or WebM, ends.

use std::io;

use super::source::Source;

/// The most elements of a Matroska file before its segment. Files have one or two.
const MOST_ELEMENTS: usize = 100;

/// The most bytes before its content. Files have some fifty.
const MOST_BEFORE_SEGMENT: u64 = 4 << 10;

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

/// Where the segment ends; `None`: its recorder could not know it.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn end(source: &Source, start: u64) -> io::Result<Option<u64>> {
    Ok(Segment::find(source, start)?.and_then(|segment| segment.end()))
}

/// Where the first element of a segment begins whose recorder could not know its size.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn open_segment(source: &Source, start: u64) -> io::Result<Option<u64>> {
    let segment = Segment::find(source, start)?.filter(|segment| segment.size.is_none());
    Ok(segment.map(|segment| segment.content))
}

/// Bytes of an element with the elements in it; of one without a size, up to the first of those. `None`: no element begins so.
pub(super) fn element(head: &[u8]) -> Option<u64> {
    let id = head.first()?.leading_zeros() as usize + 1;
    let (size, bytes) = head.get(id..).filter(|_| id <= 4).and_then(variable)?;
    Some((id + bytes) as u64 + size.unwrap_or(0))
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
