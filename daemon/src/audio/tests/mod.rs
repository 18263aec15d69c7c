//! Small files of every kind (`tests/audio`, made once with ffmpeg: a tone of 0.25 to 1.5 s), whole, cut off and
//! lied about. The probe is called directly; what happens when it fails for good is in `tests/audio_worker`.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use proptest::prelude::*;

use super::{Probe, ProbeError, probe};

mod channels;
mod cut_off;
mod decoding;
mod figures;
mod lengths;
mod planner;
mod sample;
mod wire;

const FIXTURES: [&str; 15] = [
    "adpcm.wav",
    "call.aac",
    "call.aiff",
    "call.caf",
    "call.flac",
    "call.m4a",
    "call.ogg",
    "call.opus",
    "call.webm",
    "cbr.mp3",
    "in24.mov",
    "silent.mp4",
    "tagged.mp3",
    "talk.mov",
    "wav",
];

/// A fixture with changed bytes, of which this share is kept. A place behind its end is counted on from its begin.
fn damaged(name: &str, changes: &[(usize, u8)], keep: f64) -> Vec<u8> {
    let mut bytes = if name == "wav" { wav(1, 8_000, 16, 2_000, &[7; 2_000]) } else { read(name) };
    let count = bytes.len();
    for (at, value) in changes {
        bytes[at % count] = *value;
    }
    bytes.truncate((count as f64 * keep) as usize);
    bytes
}

#[test]
fn every_format_is_known_by_its_content_with_codec_length_channels_and_rate() {
    let expected = [
        ("adpcm.wav", "wav", "adpcm", 506..=511, 1, 8_000),
        ("call.aac", "aac", "aac", 500..=640, 1, 16_000),
        ("call.aiff", "aiff", "pcm", 250..=250, 1, 8_000),
        ("call.caf", "caf", "mulaw", 250..=250, 1, 8_000),
        ("call.flac", "flac", "flac", 1500..=1500, 1, 8_000),
        ("call.m4a", "m4a", "aac", 500..=500, 2, 16_000),
        ("call.ogg", "ogg", "vorbis", 1500..=1500, 1, 16_000),
        ("call.opus", "opus", "opus", 1500..=1510, 1, 48_000),
        ("call.webm", "webm", "opus", 490..=510, 1, 16_000),
        ("cbr.mp3", "mp3", "mp3", 1584..=1584, 1, 16_000),
        ("tagged.mp3", "mp3", "mp3", 1500..=1500, 1, 16_000),
        ("talk.mov", "mov", "aac", 500..=500, 1, 16_000),
    ];
    for (name, format, codec, duration, channels, rate) in expected {
        // The wrong hint changes nothing.
        let found = probe(fixture(name), Some("txt")).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((found.format.as_str(), found.codec.as_deref()), (format, Some(codec)), "{name}");
        assert!(duration.contains(&found.duration_ms.unwrap()), "{name}: {found:?}");
        assert_eq!((found.channels, found.sample_rate), (Some(channels), Some(rate)), "{name}");
        assert_eq!(found.bytes, fixture(name).metadata().unwrap().len());
        assert!(!found.truncated, "{name}");
    }
}

#[test]
fn formats_that_we_cannot_measure_are_still_told_apart() {
    let asf = [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, 0, 0];
    for (head, format) in [
        (&b"#!AMR\n\x0c"[..], "amr"),
        (&asf, "wma"),
        (b"FLV\x01\x05", "flv"),
        (b"\0\0\x01\xba\x44\0", "mpeg"),
        (b"riff\x2e\x91\xcf\x11\xa5\xd6", "w64"),
        (&[&[b'G'; 188][..], b"G"].concat(), "ts"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
    ] {
        let found = probe_bytes(head).unwrap();
        assert_eq!((found.format.as_str(), found.duration_ms), (format, None));
    }
}

#[test]
fn what_is_not_audio_is_named() {
    let silent = probe(fixture("silent.mp4"), None).unwrap_err();
    assert!(matches!(&silent, ProbeError::NotAudio(why) if why.contains("audio track")), "{silent}");
    for (bytes, what) in [
        (&b"Dear Sir or Madam, please find"[..], "text"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
        (b"MThd\0\0\0\x06", "MIDI"),
        (b"RIFX\0\0\0\0WAVEfmt ", "byte order"),
        (&[0; 500], "zeros"),
        (&[0xff; 5000], "nothing in its first bytes"),
        (b"x", "text"),
    ] {
        let error = probe_bytes(bytes).unwrap_err();
        assert_eq!(error.code(), "NotAudio");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(probe_bytes(b""), Err(ProbeError::Empty));
}

#[test]
fn ten_gigabytes_of_zeros_are_answered_from_the_first_bytes() {
    let mut file = tempfile::tempfile().unwrap();
    file.set_len(10 << 30).unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(probe(file.try_clone().unwrap(), Some("mp3")).unwrap_err().code(), "NotAudio");
    // A WAV file of that size is accepted, and measured without being read.
    file.write_all(&wav(1, 8_000, 16, 0xffff_ffff, &[])).unwrap();
    let found = probe(file, None).unwrap();
    assert_eq!(found.duration_ms, Some(((10 << 30) - 44) / 16));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_wav_is_as_long_as_its_bytes_whatever_its_header_says() {
    let samples = vec![0; 16_000];
    let length = |declared: u32| {
        let found = probe_bytes(&wav(1, 8_000, 16, declared, &samples)).unwrap();
        (found.duration_ms.unwrap(), found.truncated)
    };
    assert_eq!(length(16_000), (1000, false));
    assert_eq!(length(8_000), (1000, false), "its recorder went on and did not come back to the header");
    assert_eq!(length(32_000), (1000, true), "cut off");
    for streaming in [0, 0x7fff_f000, 0xffff_ffff] {
        assert_eq!(length(streaming), (1000, false), "written to a pipe");
    }
    // Two channels of 24 bits, with the last frame incomplete.
    let found = probe_bytes(&wav(2, 48_000, 24, 288_005, &vec![0; 288_005])).unwrap();
    assert_eq!((found.duration_ms, found.channels, found.sample_rate), (Some(1000), Some(2), Some(48_000)));
}

#[test]
fn a_wav_of_more_than_four_gigabytes_has_its_size_in_ds64() {
    let mut bytes = wav(1, 8_000, 16, 0xffff_ffff, &[0; 16_000]);
    bytes[..4].copy_from_slice(b"RF64");
    // 0: written to a pipe, or by a recorder that ended before it filled in the header.
    for size in [16_000u64, 0, u64::MAX] {
        let ds64 =
            [b"ds64".as_slice(), &28u32.to_le_bytes(), &[0; 8], &size.to_le_bytes(), &[0; 12]].concat();
        let mut bytes = bytes.clone();
        bytes.splice(12..12, ds64);
        let found = probe_bytes(&bytes).unwrap();
        assert_eq!((found.duration_ms, found.truncated), (Some(1000), false), "{size}");
    }
}

#[test]
fn quicktime_of_old_is_left_to_the_service() {
    // No `ftyp`, which symphonia requires.
    let mut movie = read("talk.mov");
    let head = u32::from_be_bytes(movie[..4].try_into().unwrap()) as usize;
    movie.drain(..head);
    let found = probe_bytes(&movie).unwrap();
    assert_eq!((found.format.as_str(), found.duration_ms), ("mov", None));
    let text =
        probe_bytes(b"The free beer is a lie, and this is a text that goes on for a while").unwrap_err();
    assert_eq!(
        text.code(),
        "TruncatedAudio",
        "its first word is an atom's, and the atoms do not end with the file"
    );
}

#[test]
fn headers_without_audio_are_truncated_files() {
    for bytes in [
        wav(1, 8_000, 16, 1000, &[]),
        wav(0, 8_000, 16, 4, &[0; 4]),
        wav(1, 0, 16, 4, &[0; 4]),
        b"RIFF\0\0\0\0WAVE".to_vec(),
        read("call.flac")[..60].to_vec(),
        read("call.flac")[..20].to_vec(),
        read("call.m4a")[..200].to_vec(),
        read("call.ogg")[..40].to_vec(),
        b"ID3\x04\0\0\0\0\x7f\x7f".to_vec(),
    ] {
        let error = probe_bytes(&bytes).unwrap_err();
        assert_eq!(
            error.code(),
            "TruncatedAudio",
            "{error} {:?}",
            String::from_utf8_lossy(&bytes[..12.min(bytes.len())])
        );
    }
}

#[test]
fn a_flac_without_a_count_is_measured_by_its_last_frame() {
    let mut bytes = read("call.flac");
    forget_total(&mut bytes);
    let found = probe_bytes(&bytes).unwrap();
    assert_eq!((found.duration_ms, found.truncated), (Some(1500), false));
    // With a tag at the beginning and one at the end too.
    let tagged = [b"ID3\x04\0\0\0\0\0\x05abcde".to_vec(), bytes, b"TAG".to_vec(), vec![0; 125]].concat();
    assert_eq!(probe_bytes(&tagged).unwrap().duration_ms, Some(1500));
}

#[test]
fn a_wav_behind_a_tag_is_read_from_where_it_begins() {
    let bytes = wav(1, 8_000, 16, 16_000, &[0; 16_000]);
    let tagged = [b"ID3\x04\0\0\0\0\0\x05abcde".to_vec(), bytes].concat();
    let found = probe_bytes(&tagged).unwrap();
    assert_eq!((found.format.as_str(), found.duration_ms), ("wav", Some(1_000)));
}

#[test]
fn an_m4a_is_one_whatever_brand_its_recorder_writes() {
    for brand in [b"isom", b"mp42", b"3gp4"] {
        let mut bytes = read("call.m4a");
        bytes[8..12].copy_from_slice(brand);
        assert_eq!(probe_bytes(&bytes).unwrap().format, "m4a");
    }
}

#[test]
fn a_flac_that_breaks_off_counts_its_complete_frames() {
    let whole = read("call.flac");
    let found = probe_bytes(&whole[..whole.len() - 10]).unwrap();
    // Frames of 1024 samples at 8 kHz: 11 of them, and the twelfth is incomplete.
    assert_eq!((found.duration_ms, found.truncated), (Some(11 * 128), true));
    let mut cut = whole[..whole.len() / 2].to_vec();
    forget_total(&mut cut);
    let found = probe_bytes(&cut).unwrap();
    assert!(found.truncated && found.duration_ms.unwrap().is_multiple_of(128), "{found:?}");
}

#[test]
fn an_mp3_is_counted_where_its_tag_is_absent_or_not_true() {
    let tagged = read("tagged.mp3");
    assert_eq!(probe_bytes(&tagged).unwrap().duration_ms, Some(1500));
    let half = probe_bytes(&tagged[..tagged.len() / 2]).unwrap();
    assert!(half.truncated && (700..900).contains(&half.duration_ms.unwrap()), "{half:?}");

    let plain = read("cbr.mp3");
    let once = probe_bytes(&plain).unwrap().duration_ms.unwrap();
    let twice = probe_bytes(&[plain.clone(), plain.clone()].concat()).unwrap();
    assert_eq!(twice.duration_ms, Some(2 * once));
    let torn = [&plain[..plain.len() / 2], &[0; 3000], &plain[plain.len() / 2..]].concat();
    let torn = probe_bytes(&torn).unwrap().duration_ms.unwrap();
    assert!((once - 80..=once).contains(&torn), "counting goes on after a gap: {torn} of {once}");
}

#[test]
fn a_recording_that_the_daemon_reads_meanwhile_keeps_its_place() {
    let mut file = fixture("cbr.mp3");
    file.seek(std::io::SeekFrom::Start(100)).unwrap();
    probe(file.try_clone().unwrap(), None).unwrap();
    assert_eq!(file.stream_position().unwrap(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Hark's own parsers never panic on a nearly correct file. (Symphonia may: therefore it runs in the child.)
    #[test]
    fn damaged_headers_end_in_an_answer(
        which in 0..FIXTURES.len(),
        changes in prop::collection::vec((0usize..400, any::<u8>()), 1..12),
        keep in 0.0f64..=1.0,
    ) {
        let name = FIXTURES[which];
        let bytes = damaged(name, &changes, keep);
        let outcome = catch_unwind(AssertUnwindSafe(|| probe_bytes(&bytes)));
        let ours = ["wav", "adpcm.wav", "call.flac", "cbr.mp3", "tagged.mp3", "call.aac"].contains(&name);
        match outcome {
            Ok(Ok(found)) => prop_assert!(!found.format.is_empty()),
            Ok(Err(error)) => prop_assert!(!matches!(error, ProbeError::ParserFailed(_) | ProbeError::NoWorker(_))),
            Err(_) => prop_assert!(!ours, "{name} panicked"),
        }
    }
}

fn fixture(name: &str) -> File {
    File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio").join(name)).unwrap()
}

fn read(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    fixture(name).read_to_end(&mut bytes).unwrap();
    bytes
}

fn probe_bytes(bytes: &[u8]) -> Result<Probe, ProbeError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    probe(file, None)
}

/// A WAV file: the 44 bytes of a plain header that declares the given size of data, and the data.
fn wav(channels: u16, rate: u32, bits: u16, declared: u32, data: &[u8]) -> Vec<u8> {
    let block = channels * bits.div_ceil(8);
    [
        b"RIFF".as_slice(),
        &declared.wrapping_add(36).to_le_bytes(),
        b"WAVEfmt ",
        &16u32.to_le_bytes(),
        &1u16.to_le_bytes(),
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &bits.to_le_bytes(),
        b"data",
        &declared.to_le_bytes(),
        data,
    ]
    .concat()
}

/// As an encoder leaves the header when it writes to a pipe.
fn forget_total(flac: &mut [u8]) {
    flac[21] &= 0xf0;
    flac[22..26].fill(0);
}
