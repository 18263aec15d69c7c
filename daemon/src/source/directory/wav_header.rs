//! Whether a WAV file is all there, by its own header: a copy that stalls, or an upload that broke off, may go on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Files have a handful before their audio; a crafted one could have a chunk every eight bytes.
const MOST_CHUNKS: usize = 64;

/// Whether the header announces more than the file has. A file that is no WAV, or whose recorder could not know the length, announces nothing.
///
/// # Errors
/// When the file cannot be read.
pub(in crate::source) fn is_short(file: &File, length: u64) -> io::Result<bool> {
    let Some(head) = read::<12>(file, 0)? else { return Ok(false) };
    let (form, whole) = (&head[..4], size(&head[4..8]));
    if !matches!(form, b"RIFF" | b"RF64" | b"BW64") || &head[8..] != b"WAVE" {
        return Ok(false);
    }
    let mut long = None;
    let mut offset = 12;
    for _ in 0..MOST_CHUNKS {
        let Some(chunk) = read::<8>(file, offset)? else { break };
        let declared = size(&chunk[4..]);
        offset += 8;
        match &chunk[..4] {
            b"ds64" => {
                let sizes = read::<16>(file, offset)?.map(|sizes| size(&sizes[8..]));
                long = sizes.filter(|size| !matches!(*size, 0 | u64::MAX));
            }
            b"data" => {
                let is_known = long.is_some() || !is_placeholder(declared);
                let declared = long.filter(|_| declared == 0xffff_ffff).unwrap_or(declared);
                return Ok(is_known && declared > length.saturating_sub(offset));
            }
            _ => {}
        }
        offset = offset.saturating_add(declared + (declared & 1));
    }
    // It ends before its audio begins.
    Ok(offset >= length && !is_placeholder(whole) && whole.saturating_add(8) > length)
}

/// Sizes that mean "I could not know": of a recorder that wrote to a pipe, or did not go back yet to fill the size in.
fn is_placeholder(size: u64) -> bool {
    matches!(size, 0 | 0x7fff_0000..=0x8000_0000 | 0xffff_0000..=0xffff_ffff)
}

fn size(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// `None`: the file ends before that.
fn read<const N: usize>(file: &File, offset: u64) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], size: u32, there: usize) -> Vec<u8> {
        let mut chunk = name.to_vec();
        chunk.extend(size.to_le_bytes());
        chunk.extend(vec![0; there]);
        chunk
    }

    fn short(form: &[u8; 4], whole: u32, chunks: &[Vec<u8>]) -> bool {
        let mut bytes = form.to_vec();
        bytes.extend(whole.to_le_bytes());
        bytes.extend(b"WAVE");
        bytes.extend(chunks.concat());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        std::fs::write(&path, &bytes).unwrap();
        is_short(&File::open(path).unwrap(), bytes.len() as u64).unwrap()
    }

    #[test]
    fn the_audio_that_is_declared_and_not_there_is_still_to_come() {
        let format = chunk(b"fmt ", 16, 16);
        assert!(short(b"RIFF", 136, &[format.clone(), chunk(b"data", 100, 99)]));
        assert!(!short(b"RIFF", 136, &[format.clone(), chunk(b"data", 100, 100)]));
        assert!(!short(b"RIFF", 900, &[format.clone(), chunk(b"data", 100, 100)]), "chunks behind the audio");
        assert!(short(b"RIFF", 136, std::slice::from_ref(&format)), "the header itself is not all there");
        assert!(short(b"RIFF", 136, &[chunk(b"LIST", 60, 20)]), "nor a chunk before it");
        for unknown in [0, 0x7fff_ffff, 0xffff_ffff, 0xffff_ffdb] {
            assert!(!short(b"RIFF", unknown, &[format.clone(), chunk(b"data", unknown, 10)]), "{unknown:x}");
        }
        let mut sizes = chunk(b"ds64", 28, 28);
        sizes[16..24].copy_from_slice(&100_u64.to_le_bytes());
        assert!(short(b"RF64", u32::MAX, &[sizes.clone(), format.clone(), chunk(b"data", u32::MAX, 99)]));
        assert!(!short(b"RF64", u32::MAX, &[sizes, format.clone(), chunk(b"data", u32::MAX, 100)]));
        assert!(!short(b"RIFX", 900, &[format]));
    }
}
