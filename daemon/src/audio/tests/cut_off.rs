//! Files that break off, and those that only seem to.

use super::decoding::decode;
use super::*;

#[test]
fn chunks_that_end_behind_the_file_are_heard_as_far_as_they_go() {
    for name in ["call.aiff", "call.caf"] {
        let whole = read(name);
        let all = decode(&whole).0;
        for share in [30, 60, 95] {
            let cut = &whole[..whole.len() * share / 100];
            let found = probe_bytes(cut).unwrap();
            let samples = decode(cut).0;
            assert!(found.truncated, "{share} % of {name}: {found:?}");
            let length = samples.len() as u64 / 8;
            assert!(found.duration_ms.unwrap().abs_diff(length) <= 1, "{share} % of {name}: {found:?}");
            assert!(samples.len() > all.len() * (share - 8) / 100, "{share} % of {name}: {}", samples.len());
            assert_eq!(samples, all[..samples.len()], "{share} % of {name}");
        }
    }
}

#[test]
fn sound_before_a_chunk_that_breaks_off_is_whole() {
    let mut aiff = [read("call.aiff"), b"ANNO\0\0\0\x08a call".to_vec()].concat();
    let size = (aiff.len() - 6) as u32;
    aiff[4..8].copy_from_slice(&size.to_be_bytes());
    let caf = [read("call.caf"), b"info\0\0\0\0\0\0\0\x10a call".to_vec()].concat();
    for (bytes, name) in [(aiff, "call.aiff"), (caf, "call.caf")] {
        let all = decode(&read(name)).0;
        // Within the chunk, and within its first bytes.
        for less in [0, 10] {
            let cut = &bytes[..bytes.len() - less];
            let found = probe_bytes(cut).unwrap();
            assert_eq!((found.duration_ms, found.truncated), (Some(250), true), "{name}");
            assert_eq!(decode(cut).0, all, "{name}");
        }
    }
}
