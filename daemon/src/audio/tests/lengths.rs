//! Lengths that a container states wrongly, or for a part of the file only.

use super::*;

#[test]
fn joined_mp3_files_are_as_long_as_both() {
    let tagged = read("tagged.mp3");
    let found = probe_bytes(&tagged.repeat(2)).unwrap();
    // The second one counts with the silence that its encoder added.
    assert!((3000..3100).contains(&found.duration_ms.unwrap()) && !found.truncated, "{found:?}");
}

#[test]
fn each_frame_of_an_mp3_counts_at_its_own_rate() {
    // 32 kbit/s, mono: 1152 samples at 44,100 Hz, then 576 at 24,000 Hz.
    let (fast, slow) =
        (silent_frames([0xff, 0xfb, 0x10, 0xc0], 104, 100), silent_frames([0xff, 0xf3, 0x44, 0xc0], 96, 500));
    let found = probe_bytes(&[fast, slow].concat()).unwrap();
    assert_eq!(found.duration_ms, Some(2612 + 12_000));
    assert_eq!((found.sample_rate, found.truncated), (Some(44_100), false));
}

#[test]
fn an_mp3_without_a_tag_that_ends_within_a_frame_is_truncated() {
    let frames = silent_frames([0xff, 0xfb, 0x10, 0xc0], 104, 100);
    for (cut, truncated) in [(0, false), (50, true), (100, true)] {
        let found = probe_bytes(&frames[..frames.len() - cut]).unwrap();
        assert_eq!(found.truncated, truncated, "{cut} bytes: {found:?}");
    }
    let aac = read("call.aac");
    assert!(probe_bytes(&aac[..aac.len() - 20]).unwrap().truncated);
}

#[test]
fn all_streams_of_a_chained_ogg_count() {
    for (name, one) in [("call.opus", 1500..=1510), ("call.ogg", 1500..=1500)] {
        let found = probe_bytes(&read(name).repeat(3)).unwrap().duration_ms.unwrap();
        assert!((3 * one.start()..=3 * one.end()).contains(&found), "{name}: {found}");
    }
}

#[test]
fn a_webm_is_as_long_as_its_blocks() {
    let mut bytes = read("call.webm");
    let duration = bytes.windows(3).position(|three| three == [0x44, 0x89, 0x88]).unwrap() + 3;
    for stated in [0.5_f64, 500_000.0] {
        bytes[duration..duration + 8].copy_from_slice(&stated.to_be_bytes());
        let found = probe_bytes(&bytes).unwrap().duration_ms.unwrap();
        assert!((480..=520).contains(&found), "{stated}: {found}");
    }
}

#[test]
fn iso_media_that_is_cut_off_has_the_length_of_what_is_there() {
    let whole = read("talk.mov");
    let found = probe_bytes(&whole).unwrap();
    // The index moves in front of the audio, so what it says of places moves as well.
    let (media, index) = (28..1393, 1393..whole.len());
    let mut places = whole[index.clone()].to_vec();
    for at in (0..places.len()).filter(|&at| whole[index.start + at..].starts_with(b"stco")) {
        let count = usize::from(places[at + 11]);
        for entry in places[at + 12..].chunks_exact_mut(4).take(count) {
            let place = u32::from_be_bytes(entry.try_into().unwrap()) + index.len() as u32;
            entry.copy_from_slice(&place.to_be_bytes());
        }
    }
    let moved = [&whole[..media.start], &places, &whole[media]].concat();
    assert_eq!(probe_bytes(&moved).unwrap().duration_ms, found.duration_ms);
    let cut = probe_bytes(&moved[..moved.len() - 200]).unwrap();
    assert!(cut.truncated && cut.duration_ms < found.duration_ms, "{cut:?}");
}

#[test]
fn iso_media_without_an_index_is_said_to_lack_it() {
    let mut movie = read("call.m4a");
    let index = movie.windows(4).position(|four| four == b"moov").unwrap();
    movie[index..index + 4].copy_from_slice(b"free");
    let error = probe_bytes(&movie).unwrap_err();
    assert!(error.code() == "TruncatedAudio" && error.to_string().contains("index"), "{error}");
}

#[test]
fn a_codec_that_no_decoder_knows_is_named() {
    let replaced = |name: &str, from: &[u8], to: &[u8]| {
        let mut bytes = read(name);
        let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        places.iter().for_each(|&at| bytes[at..at + to.len()].copy_from_slice(to));
        probe_bytes(&bytes).unwrap()
    };
    let phone = replaced("call.m4a", b"mp4a", b"samr");
    assert_eq!(
        (phone.format.as_str(), phone.codec.as_deref(), phone.duration_ms),
        ("m4a", Some("amr"), Some(500))
    );
    let film = replaced("call.webm", b"A_OPUS", b"A_DTS\0");
    assert_eq!((film.format.as_str(), film.codec.as_deref()), ("webm", Some("dts_")));
    assert!((480..=520).contains(&film.duration_ms.unwrap()), "{film:?}");
}

#[test]
fn an_aiff_with_an_unknown_codec_is_not_truncated() {
    let mut bytes = read("call.aiff");
    // AIFC with the compression `ima4` in its COMM chunk, which is longer by six bytes.
    bytes[8..12].copy_from_slice(b"AIFC");
    let common = bytes.windows(4).position(|four| four == b"COMM").unwrap();
    bytes[common + 7] = 24;
    bytes.splice(common + 26..common + 26, *b"ima4\0\0");
    let length = (bytes.len() - 8) as u32;
    bytes[4..8].copy_from_slice(&length.to_be_bytes());
    let found = probe_bytes(&bytes).unwrap();
    assert_eq!((found.format.as_str(), found.duration_ms, found.truncated), ("aiff", None, false));
    assert_eq!(found.codec.as_deref(), Some("adpcm"));
}

#[test]
fn layer_2_of_a_bit_rate_that_symphonia_refuses_is_measured() {
    // 384 kbit/s, mono, 48 kHz; 80 kbit/s, stereo, 24 kHz.
    for (header, length, channels, rate, per_frame) in
        [([0xff, 0xfd, 0xe4, 0xc4], 1152, 1, 48_000, 24), ([0xff, 0xf5, 0x94, 0x04], 480, 2, 24_000, 48)]
    {
        let frames = silent_frames(header, length, 100);
        let found = probe_bytes(&frames).unwrap();
        assert_eq!((found.format.as_str(), found.codec.as_deref()), ("mpeg", Some("mp2")));
        assert_eq!((found.channels, found.sample_rate), (Some(channels), Some(rate)));
        assert_eq!((found.duration_ms, found.truncated), (Some(100 * per_frame), false));
        let tagged = [&b"ID3\x04\0\0\0\0\0\x05abcde"[..], &frames, b"TAG", &[0; 125]].concat();
        assert_eq!(probe_bytes(&tagged).unwrap().duration_ms, Some(100 * per_frame));
        let cut = probe_bytes(&frames[..frames.len() - 100]).unwrap();
        assert_eq!((cut.duration_ms, cut.truncated), (Some(99 * per_frame), true));
    }
}

/// Frames of MPEG audio that decode to silence.
fn silent_frames(header: [u8; 4], length: usize, count: usize) -> Vec<u8> {
    let mut frame = header.to_vec();
    frame.resize(length, 0);
    frame.repeat(count)
}
