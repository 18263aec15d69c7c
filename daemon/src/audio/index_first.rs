//! Moves the index of ISO media in front of its audio. Phones write the index last, and ffmpeg, which reads a pipe here, cannot go back to
//! audio that it has passed.

use std::ops::Range;

use super::boxes;

/// Boxes that hold the tables of chunks, from the outermost in.
const HOLDERS: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];

/// The file with its index before its audio, and with the chunk offsets adjusted. `None` if the index already comes first, or cannot be
/// parsed.
pub(super) fn index_first(file: &[u8]) -> Option<Vec<u8>> {
    let boxes: Vec<Range<usize>> = boxes(file, 0..file.len()).collect();
    let named = |name: &[u8; 4]| boxes.iter().find(|it| is(file, it, name)).cloned();
    let (index, audio) = (named(b"moov")?, named(b"mdat")?);
    if index.start < audio.start {
        return None;
    }
    let mut moved = file[index.clone()].to_vec();
    let all = 0..moved.len();
    move_chunks(&mut moved, all, &HOLDERS, &(audio.start..index.start), index.len())?;
    let parts = [&file[..audio.start], &moved, &file[audio.start..index.start], &file[index.end..]];
    Some(parts.concat())
}

/// The boxes in a range, up to one that breaks off.
fn boxes(file: &[u8], range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let head = file.get(at..range.end)?;
        let (size, _) = boxes::size(head, head.len() as u64)?;
        let end = at.checked_add(usize::try_from(size).ok()?).filter(|end| *end <= range.end)?;
        let found = at..end;
        at = end;
        Some(found)
    })
}

fn is(file: &[u8], it: &Range<usize>, name: &[u8; 4]) -> bool {
    file.get(it.start + 4..it.start + 8) == Some(name)
}

/// Moves the chunks that lie in `what` by this many bytes, in all tables that the boxes of a range hold. `None`: a table breaks off, or a place
/// does not fit into it.
fn move_chunks(
    index: &mut [u8],
    range: Range<usize>,
    holders: &[&[u8; 4]],
    what: &Range<usize>,
    by: usize,
) -> Option<()> {
    for found in boxes(index, range).collect::<Vec<_>>() {
        if let [holder, inner @ ..] = holders {
            if is(index, &found, holder) {
                move_chunks(index, found.start + 8..found.end, inner, what, by)?;
            }
            continue;
        }
        let width = match () {
            () if is(index, &found, b"stco") => 4,
            () if is(index, &found, b"co64") => 8,
            () => continue,
        };
        // Version and flags, the number of entries, the entries.
        let table = index[found].get_mut(12..)?;
        let count = u32::from_be_bytes(*table.first_chunk()?) as usize;
        for entry in table.get_mut(4..)?.chunks_exact_mut(width).take(count) {
            let place = entry.iter().fold(0_u64, |place, byte| place << 8 | u64::from(*byte));
            if !usize::try_from(place).is_ok_and(|place| what.contains(&place)) {
                continue;
            }
            let place = place + by as u64;
            if width == 4 && place > u64::from(u32::MAX) {
                return None;
            }
            entry.copy_from_slice(&place.to_be_bytes()[8 - width..]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bx(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32 + 8).to_be_bytes();
        [&size[..], name, body].concat()
    }

    fn media(chunks: &[u32]) -> (Vec<u8>, Vec<u8>) {
        let count = (chunks.len() as u32).to_be_bytes();
        let table =
            [vec![0; 4], count.to_vec(), chunks.iter().flat_map(|it| it.to_be_bytes()).collect()].concat();
        let holders = HOLDERS.iter().rev().fold(bx(b"stco", &table), |inner, name| bx(name, &inner));
        (bx(b"ftyp", b"3gp4"), holders)
    }

    #[test]
    fn the_index_comes_first_and_still_finds_the_audio() {
        let (head, index) = media(&[20, 23]);
        let audio = bx(b"mdat", b"abcdef");
        let file = [&head[..], &audio, &index, &bx(b"free", b"")].concat();
        assert_eq!((&file[20..23], &file[23..26]), (&b"abc"[..], &b"def"[..]));
        let moved = index_first(&file).unwrap();
        assert_eq!(moved.len(), file.len());
        let by = index.len() as u32;
        let (_, index) = media(&[20 + by, 23 + by]);
        assert_eq!(moved, [&head[..], &index, &audio, &bx(b"free", b"")].concat());
        assert_eq!(index_first(&moved), None, "it is in front");
        assert_eq!(index_first(&file[..file.len() - 20]), None, "it breaks off");
    }

    #[test]
    fn a_table_without_room_for_its_head_is_not_followed() {
        let index = HOLDERS.iter().rev().fold(bx(b"stco", b""), |inner, name| bx(name, &inner));
        assert_eq!(index_first(&[bx(b"mdat", b"abcdef"), index].concat()), None);
    }

    proptest! {
        #[test]
        fn no_file_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..200, big in any::<u32>()) {
            let (head, index) = media(&[20, big]);
            let mut file = [&head[..], &bx(b"mdat", b"abcdef"), &index].concat();
            let at = at.min(file.len());
            file.splice(at..(at + bytes.len()).min(file.len()), bytes);
            if let Some(moved) = index_first(&file) {
                prop_assert_eq!(moved.len(), file.len());
            }
        }
    }
}
