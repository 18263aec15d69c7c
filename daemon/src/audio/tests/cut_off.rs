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

#[test]
fn a_webm_of_a_recorder_that_cannot_go_back_is_whole_up_to_its_last_element() {
    let mut webm = read("call.webm");
    let place = |webm: &[u8], id: [u8; 4]| webm.windows(4).rposition(|four| four == id).unwrap();
    // It writes no index, and no list of what is where.
    webm.truncate(place(&webm, [0x1c, 0x53, 0xbb, 0x6b]));
    let (segment, info) = (place(&webm, [0x18, 0x53, 0x80, 0x67]), place(&webm, [0x15, 0x49, 0xa9, 0x66]));
    webm.drain(segment + 12..info);
    for id in [[0x18, 0x53, 0x80, 0x67], [0x1f, 0x43, 0xb6, 0x75]] {
        let size = place(&webm, id) + 4;
        let bytes = webm[size].leading_zeros() as usize + 1;
        webm.splice(size..size + bytes, [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }
    for (less, truncated) in [(0, false), (3, true), (100, true)] {
        let found = probe_bytes(&webm[..webm.len() - less]).unwrap();
        assert_eq!(found.truncated, truncated, "{less} bytes less: {found:?}");
    }
}

#[test]
fn an_avi_goes_on_behind_its_first_gigabyte() {
    let lists = [&b"RIFF\x04\0\0\0AVI RIFF\x10\0\0\0AVIX"[..], &[0; 12]].concat();
    assert!(!probe_bytes(&lists).unwrap().truncated);
    assert!(probe_bytes(&lists[..lists.len() - 1]).unwrap().truncated);
}

#[test]
fn frames_of_amr_have_the_length_of_their_kind() {
    // Speech of 12.2 kbit/s, a description of silence, nothing; wideband of 23.85 kbit/s, the same.
    for (mark, kinds) in
        [(&b"#!AMR\n"[..], [(7_u8, 31), (8, 5), (15, 0)]), (b"#!AMR-WB\n", [(8, 60), (9, 5), (15, 0)])]
    {
        let frames = kinds.map(|(kind, bytes)| [&[kind << 3 | 4][..], &vec![0; bytes]].concat());
        let whole = [mark, &frames.concat(), &frames[0]].concat();
        assert!(!probe_bytes(&whole).unwrap().truncated);
        assert!(probe_bytes(&whole[..whole.len() - 1]).unwrap().truncated);
    }
}
