//! The byte order of QuickTime's samples, which symphonia takes for little-endian whatever the file says.

use std::io;

use symphonia::core::codecs::audio::AudioCodecId;
use symphonia::core::codecs::audio::well_known as codec;
use symphonia::core::formats::Track;

use super::boxes;
use super::source::Source;

/// Bytes of a sample description that are read.
const DESCRIPTION: usize = 1 << 10;

/// The codec of the sound track of the ISO media at `start`, if its samples are big-endian and symphonia says little-endian. In QuickTime, 24-
/// and 32-bit samples and floating-point samples are big-endian, unless an `enda` box says otherwise.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn big_endian(source: &Source, start: u64, track: &Track) -> io::Result<Option<AudioCodecId>> {
    let Some(swapped) = track.codec_params.as_ref().and_then(|it| it.audio()).and_then(|it| match it.codec {
        codec::CODEC_ID_PCM_S24LE => Some(codec::CODEC_ID_PCM_S24BE),
        codec::CODEC_ID_PCM_S32LE => Some(codec::CODEC_ID_PCM_S32BE),
        codec::CODEC_ID_PCM_F32LE => Some(codec::CODEC_ID_PCM_F32BE),
        codec::CODEC_ID_PCM_F64LE => Some(codec::CODEC_ID_PCM_F64BE),
        _ => None,
    }) else {
        return Ok(None);
    };
    let Some(index) = boxes::index(source, start)? else { return Ok(None) };
    let Some(found) = boxes::track(source, index, track.id)? else { return Ok(None) };
    let names = [b"mdia", b"minf", b"stbl", b"stsd"];
    let Some(description) = boxes::within(source, found, &names)? else { return Ok(None) };
    let description = source.copy(description.start, DESCRIPTION)?;
    Ok(is_big_endian(&description).then_some(swapped))
}

/// By the first entry of a `stsd` box.
fn is_big_endian(description: &[u8]) -> bool {
    let Some(length) = description.get(8..12).and_then(|it| it.first_chunk()) else { return false };
    let end = description.len().min(8 + u32::from_be_bytes(*length) as usize);
    let Some(entry) = description.get(12..end) else { return false };
    let is_little_endian = || {
        let order = entry.windows(4).position(|it| it == b"enda").and_then(|at| entry.get(at + 4..at + 6));
        order == Some(&[0, 1])
    };
    [b"in24", b"in32", b"fl32", b"fl64"].iter().any(|&code| entry.starts_with(code)) && !is_little_endian()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_big_endian_unless_a_box_says_otherwise() {
        let description = |code: &[u8; 4], order: &[u8]| {
            let entry = [&code[..], &[0; 48], order].concat();
            [&[0, 0, 0, 0, 0, 0, 0, 1], &(entry.len() as u32 + 4).to_be_bytes()[..], &entry].concat()
        };
        let (big, little) = (*b"\0\0\0\x0aenda\0\0", *b"\0\0\0\x0aenda\0\x01");
        for code in [b"in24", b"in32", b"fl32", b"fl64"] {
            assert!(is_big_endian(&description(code, b"")));
            assert!(is_big_endian(&description(code, &big)));
            assert!(!is_big_endian(&description(code, &little)));
        }
        assert!(!is_big_endian(&description(b"lpcm", b"")), "its flags say it, which symphonia reads");
        let (whole, next) = (description(b"in24", b""), &little[..]);
        assert!(is_big_endian(&[&whole[..], next].concat()), "that is of the next entry");
        for end in 0..whole.len() {
            let _ = is_big_endian(&whole[..end]);
        }
    }
}
