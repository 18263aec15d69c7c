//! Where a recording begins in a track of ISO media: encoders put samples of their own in front, and symphonia delivers these too.

use std::io;
use std::ops::Range;

use symphonia::core::formats::Track;
use symphonia::core::units::Timestamp;

use super::boxes;
use super::source::Source;

/// The most that an encoder adds in front. A track whose begin is later was cut with an editor; then nothing of it is skipped.
const LONGEST_SECONDS: i64 = 1;

/// Bytes of an edit list that are read, and of the tags at the end of an index.
const LIST: usize = 1 << 10;
const TAGS: u64 = 1 << 20;

/// The time of the track that is the begin of the recording, by the track's edit list or else by the tag of iTunes. `None`: it is the
/// track's own begin.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn begin(source: &Source, start: u64, track: &Track) -> io::Result<Option<Timestamp>> {
    let Some(base) = track.time_base else { return Ok(None) };
    let longest = i64::from(base.denom.get()) * LONGEST_SECONDS / i64::from(base.numer.get());
    let stated = stated(source, start, track.id)?;
    Ok(stated.filter(|begin| (1..=longest).contains(begin)).map(Timestamp::from))
}

/// The begin that the index of the media at `start` states for the track with this id, whatever it is.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn stated(source: &Source, start: u64, id: u32) -> io::Result<Option<i64>> {
    let Some(index) = boxes::index(source, start)? else { return Ok(None) };
    if let Some(begin) = by_edit_list(source, index.clone(), id)? {
        return Ok(Some(begin));
    }
    let tags = index.start.max(index.end.saturating_sub(TAGS));
    Ok(by_tag(&source.copy(tags, (index.end - tags) as usize)?))
}

fn by_edit_list(source: &Source, index: Range<u64>, id: u32) -> io::Result<Option<i64>> {
    let list = boxes::track(source, index, id)?;
    let list = list.map(|track| boxes::within(source, track, &[b"edts", b"elst"])).transpose()?.flatten();
    let Some(list) = list else { return Ok(None) };
    Ok(first_edit(&source.copy(list.start, LIST)?))
}

/// The begin of the first part of the track that an edit list names; edits before it are pauses.
fn first_edit(list: &[u8]) -> Option<i64> {
    let width = if *list.first()? == 0 { 4 } else { 8 };
    let count = u32::from_be_bytes(*list.get(4..)?.first_chunk()?) as usize;
    // A length, a begin, a speed.
    let edits = list.get(8..)?.chunks_exact(2 * width + 4).take(count);
    let begins = edits.map(|edit| match width {
        4 => i64::from(i32::from_be_bytes([edit[4], edit[5], edit[6], edit[7]])),
        _ => edit[8..16].iter().fold(0, |begin, byte| begin << 8 | i64::from(*byte)),
    });
    begins.into_iter().find(|begin| *begin >= 0)
}

/// What iTunes writes of the gap in front, the second of some numbers, in samples.
fn by_tag(tags: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"iTunSMPB";
    let named = tags.windows(NAME.len()).position(|it| it == NAME)?;
    let text = tags.get(named + NAME.len()..)?;
    let text = text.get(..text.len().min(64))?;
    // Behind the box's size and name, its kind and its language.
    let text = text.get(text.windows(4).position(|it| it == b"data")? + 12..)?;
    i64::from_str_radix(std::str::from_utf8(text.get(..18)?).ok()?.split_whitespace().nth(1)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_begins_with_the_first_edit_that_plays_something() {
        let list = |version: u8, edits: &[&[u8]]| {
            [&[version, 0, 0, 0], &(edits.len() as u32).to_be_bytes()[..], &edits.concat()].concat()
        };
        let pause = [0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0];
        let short = [0, 0, 1, 0, 0, 0, 4, 0, 0, 1, 0, 0];
        let long = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0x40, 0, 1, 0, 0];
        assert_eq!(first_edit(&list(0, &[&short])), Some(1_024));
        assert_eq!(first_edit(&list(0, &[&pause, &short])), Some(1_024));
        assert_eq!(first_edit(&list(1, &[&long])), Some(2_112));
        assert_eq!((first_edit(&list(0, &[&pause])), first_edit(&[0; 5])), (None, None));
    }

    #[test]
    fn itunes_says_it_in_hexadecimal() {
        let tag = b"nameiTunSMPB\0\0\0\x84data\0\0\0\x01\0\0\0\0 00000000 00000840 000001CA 00000000003F31F6";
        assert_eq!(by_tag(tag), Some(2_112));
        for end in 0..46 {
            assert_eq!(by_tag(&tag[..end]), None, "cut off after {end}");
        }
    }
}
