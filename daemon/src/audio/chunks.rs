//! Reads AIFF and CAF files that are cut off, or whose recorder did not know the length of the sound. Both formats are a list of chunks, one of
//! which is the sound; symphonia refuses a chunk that ends behind the end of the file.

use std::io;
use std::ops::Range;

use super::source::Source;
use super::wav::is_placeholder;

/// The most chunks that are read. Files have a few.
const MOST_CHUNKS: usize = 1_000;

/// The most bytes before the sound: pictures and, in CAF, the sizes of all packets.
const MOST_BEFORE_SOUND: u64 = 8 << 20;

/// How a format writes its chunks.
struct Layout {
    /// Where the first one begins.
    first: u64,
    /// The name of the one with the sound.
    sound: &'static [u8; 4],
    /// Bytes of a chunk's size.
    width: usize,
}

impl Layout {
    fn of(format: &str) -> Option<Layout> {
        match format {
            "aiff" => Some(Layout { first: 12, sound: b"SSND", width: 4 }),
            "caf" => Some(Layout { first: 8, sound: b"data", width: 8 }),
            _ => None,
        }
    }
}

/// The chunk that the file ends within, or that has no size.
struct Last {
    start: u64,
    content: u64,
    is_sound: bool,
    /// `None`: its recorder could not know it.
    end: Option<u64>,
    /// The sizes of the packets of CAF are before it.
    has_table: bool,
}

impl Last {
    /// `None`: the file is whole.
    fn find(source: &Source, file: Range<u64>, format: &str) -> io::Result<Option<Last>> {
        let Some(layout) = Layout::of(format) else { return Ok(None) };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        // AIFF states its own size.
        let stated = if format == "aiff" { number(&source.copy(file.start + 4, 4)?) } else { 0 };
        let end = if is_placeholder(stated) { u64::MAX } else { file.start + 8 + stated };
        let (mut start, mut has_table) = (file.start + layout.first, false);
        for _ in 0..MOST_CHUNKS {
            if start >= end.min(file.end) {
                break;
            }
            let head = source.copy(start, 4 + layout.width)?;
            let content = start + 4 + layout.width as u64;
            let is_sound = head.starts_with(layout.sound);
            if content > file.end {
                return Ok(Some(Last { start, content, is_sound: false, end: Some(content), has_table }));
            }
            let size = number(head.get(4..).unwrap_or_default());
            let is_open = if layout.width == 4 { is_placeholder(size) } else { size == u64::MAX };
            if is_sound && is_open {
                return Ok(Some(Last { start, content, is_sound, end: None, has_table }));
            }
            let next = content.saturating_add(size);
            if next > file.end {
                return Ok(Some(Last { start, content, is_sound, end: Some(next), has_table }));
            }
            has_table |= head.starts_with(b"pakt");
            // Chunks of AIFF have an even length.
            start = if layout.width == 4 { next + (size & 1) } else { next };
        }
        Ok(None)
    }
}

/// Where the last chunk ends, if that is behind the file.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn end(source: &Source, start: u64, format: &str) -> io::Result<Option<u64>> {
    Ok(Last::find(source, start..source.length(), format)?.and_then(|last| last.end))
}

/// Whether a CAF file ends before the table of its packets, which differ in size.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn lacks_packets(source: &Source, start: u64) -> io::Result<bool> {
    let last = Last::find(source, start..source.length(), "caf")?;
    Ok(last.is_some_and(|last| !last.has_table) && packet(source, start)?.is_none())
}

/// Bytes of each packet of a CAF file, by its first chunk; `None`: they differ.
fn packet(source: &Source, start: u64) -> io::Result<Option<u64>> {
    let bytes = source.copy(start + 36, 4)?;
    Ok(bytes.first_chunk().map(|four| u64::from(u32::from_be_bytes(*four))).filter(|bytes| *bytes > 0))
}

/// The begin of the file with corrected sizes, and the range of the rest. `None`: the sizes are right.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn mended(
    source: &Source,
    file: Range<u64>,
    format: &str,
) -> io::Result<Option<(Vec<u8>, Range<u64>)>> {
    let last = Last::find(source, file.clone(), format)?;
    let Some((layout, last)) = Layout::of(format).zip(last) else { return Ok(None) };
    let (head_end, mut end) =
        if last.is_sound { (last.content, file.end) } else { (file.start + layout.first, last.start) };
    if head_end - file.start > MOST_BEFORE_SOUND {
        return Ok(None);
    }
    if last.is_sound && format == "caf" {
        // Whole packets, behind the number of edits.
        let packet = packet(source, file.start)?.unwrap_or(1);
        end -= (end - last.content).saturating_sub(4) % packet;
    }
    let mut head = source.copy(file.start, (head_end - file.start) as usize)?;
    let width = layout.width;
    let mut write = |at: usize, size: u64| {
        let size = if width == 4 { size.min(u64::from(u32::MAX)) } else { size };
        if let Some(place) = head.get_mut(at..at + width) {
            place.copy_from_slice(&size.to_be_bytes()[8 - width..]);
        }
    };
    if last.is_sound {
        write((last.start - file.start) as usize + 4, end - last.content);
    }
    if format == "aiff" {
        write(4, end - file.start - 8);
    }
    Ok(Some((head, head_end..end)))
}
