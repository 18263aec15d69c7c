//! Tells whether a file ends within a frame, for formats whose headers do not state the size of the file. Such a file is left by a recorder
//! that died, or by a copy that broke off.

use std::collections::BTreeMap;
use std::io;

use super::matroska;
use super::source::Source;

/// After this many bytes a walk from frame to frame stops; what follows counts as whole.
const MOST_WALKED: u64 = 256 << 20;

/// Bytes of the frames of GSM 06.10 and G.729, and of the packets of a transport stream.
const GSM: u64 = 33;
const G729: u64 = 10;
const PACKET: u64 = 188;

/// Bytes at the end of a transport stream that the last frames begin in.
const TAIL: u64 = 512 * PACKET;

/// No page of Ogg has more bytes.
const LONGEST_PAGE: u64 = 27 + 255 + 255 * 255;

/// Enough bytes to tell the length of a frame.
const HEAD: usize = 16;

/// Whether the last frame, tag or packet of a file whose content begins at `start` is incomplete. `false` for formats that do not show it.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn is_incomplete(source: &mut Source, start: u64, format: &str) -> io::Result<bool> {
    let length = source.length().saturating_sub(start);
    let head = source.copy(start, HEAD)?;
    let tail = |source: &Source, most: u64| source.copy(start + length.saturating_sub(most), most as usize);
    match format {
        "gsm" => Ok(!length.is_multiple_of(GSM)),
        "g729" => Ok(!length.is_multiple_of(G729)),
        "ts" => Ok(!length.is_multiple_of(PACKET) || lacks_packets(&tail(source, TAIL)?)),
        "ogg" => Ok(is_inside(&tail(source, LONGEST_PAGE)?)),
        "amr" if head.starts_with(b"#!AMR\n") => walk(source, start + 6, 1, amr),
        "amr" if head.starts_with(b"#!AMR-WB\n") => walk(source, start + 9, 1, amr_wideband),
        "flv" => {
            let first =
                head.get(5..).and_then(|rest| rest.first_chunk()).map_or(9, |four| u32::from_be_bytes(*four));
            // In front of each tag stands the size of the tag before it.
            walk(source, start + u64::from(first) + 4, 15, flv)
        }
        "mpeg" => walk(source, start, 4, program_stream),
        "wv" => walk(source, start, 32, wavpack),
        "mkv" | "webm" => match matroska::open_segment(source, start)? {
            Some(first) => walk(source, first, 2, |head| matroska::element(head)),
            None => Ok(false),
        },
        _ => Ok(false),
    }
}

/// Goes from frame to frame, each of which has at least `least` bytes; `length` tells how many by its first bytes, and `None` where no frame
/// begins.
fn walk(
    source: &mut Source,
    first: u64,
    least: u64,
    length: fn(&[u8; HEAD]) -> Option<u64>,
) -> io::Result<bool> {
    let (mut offset, end) = (first, source.length());
    while offset < end.min(MOST_WALKED) {
        let mut head = [0; HEAD];
        let there = source.peek(offset, HEAD)?;
        head[..there.len()].copy_from_slice(there);
        offset += match length(&head) {
            _ if end - offset < least => least,
            Some(bytes) => bytes,
            None => return Ok(false),
        };
    }
    Ok(offset > end)
}

/// A frame by its kind (RFC 4867, 5.3).
fn amr(head: &[u8; HEAD]) -> Option<u64> {
    Some([13, 14, 16, 18, 20, 21, 27, 32, 6, 7, 6, 6, 1, 1, 1, 1][usize::from(head[0] >> 3 & 15)])
}

fn amr_wideband(head: &[u8; HEAD]) -> Option<u64> {
    Some([18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1][usize::from(head[0] >> 3 & 15)])
}

/// A tag of sound, pictures or data, and the size that is written behind it.
fn flv(head: &[u8; HEAD]) -> Option<u64> {
    let [kind, high, middle, low, ..] = *head;
    matches!(kind & 0x1f, 8 | 9 | 18).then(|| u64::from(u32::from_be_bytes([0, high, middle, low])) + 15)
}

/// A pack header, or a packet.
fn program_stream(head: &[u8; HEAD]) -> Option<u64> {
    let [0, 0, 1, code, fifth, sixth, ..] = *head else { return None };
    match code {
        0xb9 => Some(4),
        0xba if fifth >> 6 == 1 => Some(14 + u64::from(head[13] & 7)),
        0xba => Some(12),
        0xbb.. => Some(6 + u64::from(u16::from_be_bytes([fifth, sixth]))),
        _ => None,
    }
}

fn wavpack(head: &[u8; HEAD]) -> Option<u64> {
    let [b'w', b'v', b'p', b'k', a, b, c, d, ..] = *head else { return None };
    Some(u64::from(u32::from_le_bytes([a, b, c, d])) + 8)
}

/// Whether the last page of Ogg is incomplete, or not marked as the last one of its stream.
fn is_inside(tail: &[u8]) -> bool {
    let Some(at) = tail.windows(4).rposition(|name| name == b"OggS") else { return false };
    let page = &tail[at..];
    let lengths = page.get(26).and_then(|count| page.get(27..27 + usize::from(*count)));
    let bytes =
        lengths.map(|lengths| 27 + lengths.len() + lengths.iter().map(|it| usize::from(*it)).sum::<usize>());
    bytes.is_none_or(|bytes| bytes > page.len() || page[5] & 4 == 0)
}

/// Whether a frame of sound is not whole, by the last packets of a transport stream: it begins in one of them and states its length.
fn lacks_packets(packets: &[u8]) -> bool {
    let mut missing = BTreeMap::new();
    for packet in packets.chunks_exact(PACKET as usize) {
        let program = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let has_field = packet[3] & 0x20 != 0;
        let begin = if has_field { 5 + usize::from(packet[4]) } else { 4 };
        let Some(payload) = packet.get(begin..).filter(|_| packet[3] & 0x10 != 0) else { continue };
        let count = payload.len() as i64;
        match *payload {
            // Sound of MPEG, or of other kinds.
            [0, 0, 1, 0xbd | 0xc0..=0xdf, high, low, ..] if packet[1] & 0x40 != 0 => {
                let stated = i64::from(u16::from_be_bytes([high, low]));
                missing.insert(program, if stated > 0 { stated + 6 - count } else { 0 });
            }
            _ => {
                missing.entry(program).and_modify(|left| *left -= count);
            }
        }
    }
    missing.values().any(|left| *left > 0)
}
