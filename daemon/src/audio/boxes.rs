//! The boxes of ISO media: each begins with its size and its name (ISO/IEC 14496-12, 4.2).

use std::io;
use std::ops::Range;

use super::source::Source;

/// The most boxes of one level that are passed over.
const MOST_BOXES: usize = 10_000;

/// The size of a box and of its header, in bytes, by its first 16 bytes. `rest`: the bytes from its begin to the end of what it is in, which
/// is its size where it states none. `None`: the header breaks off, or the box is smaller than its header.
pub(super) fn size(head: &[u8], rest: u64) -> Option<(u64, u64)> {
    let (size, header) = match u32::from_be_bytes(*head.first_chunk()?) {
        0 => (rest, 8),
        1 => (u64::from_be_bytes(*head.get(8..)?.first_chunk()?), 16),
        size => (u64::from(size), 8),
    };
    (size >= header).then_some((size, header))
}

/// The index (`moov`) of the media at `start`.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn index(source: &Source, start: u64) -> io::Result<Option<Range<u64>>> {
    next(source, &mut (start..source.length()), b"moov")
}

/// The content of the track with this id in an index.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn track(source: &Source, mut index: Range<u64>, id: u32) -> io::Result<Option<Range<u64>>> {
    while let Some(track) = next(source, &mut index, b"trak")? {
        let Some(header) = next(source, &mut track.clone(), b"tkhd")? else { continue };
        let header = source.copy(header.start, 24)?;
        let id_at = if header.first() == Some(&0) { 12 } else { 20 };
        if header.get(id_at..id_at + 4) == Some(&id.to_be_bytes()[..]) {
            return Ok(Some(track));
        }
    }
    Ok(None)
}

/// The content of the box that is reached by these names, each within the one before.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn within(
    source: &Source,
    mut outer: Range<u64>,
    names: &[&[u8; 4]],
) -> io::Result<Option<Range<u64>>> {
    for name in names {
        let Some(inner) = next(source, &mut outer, name)? else { return Ok(None) };
        outer = inner;
    }
    Ok(Some(outer))
}

/// The content of the next box with this name; the boxes up to its end are taken.
fn next(source: &Source, boxes: &mut Range<u64>, name: &[u8; 4]) -> io::Result<Option<Range<u64>>> {
    for _ in 0..MOST_BOXES {
        let head = source.copy(boxes.start, 16)?;
        let Some((size, header)) = size(&head, boxes.end - boxes.start) else { break };
        let content = boxes.start + header..boxes.start.saturating_add(size).min(boxes.end);
        if content.start > content.end {
            break;
        }
        boxes.start = content.end;
        if head.get(4..8) == Some(name) {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_its_size_in_four_bytes_in_eight_or_is_the_rest() {
        let head = |size: u32, long: u64| [&size.to_be_bytes()[..], b"moov", &long.to_be_bytes()].concat();
        assert_eq!(size(&head(24, 0), 100), Some((24, 8)));
        assert_eq!(size(&head(1, 1 << 40), 100), Some((1 << 40, 16)));
        assert_eq!(size(&head(0, 0), 100), Some((100, 8)));
        assert_eq!(size(&head(8, 0)[..8], 8), Some((8, 8)));
        for (head, rest) in
            [(head(7, 0), 100), (head(1, 15), 100), (head(0, 0), 7), (head(1, 99)[..12].to_vec(), 100)]
        {
            assert_eq!(size(&head, rest), None);
        }
        assert_eq!(size(&[0; 3], 3), None);
    }
}
