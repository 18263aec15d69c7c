//! Recordings that were cut off, in every container: they are heard as far as they go, and say so where anything tells.

use harkd::audio::Probe;

use super::formats::{encoded, file, heard, noise};
use super::*;
use crate::support::ffmpeg::{amr, g729, has_ffmpeg, remuxed};

/// Seconds of sound in each.
const SECONDS: usize = 6;

/// The name of the format, and how ffmpeg makes it.
const CONVERTED: [(&str, &str); 51] = [
    ("wav", "-c:a pcm_s16le -f wav"),
    ("wav", "-c:a pcm_u8 -f wav"),
    ("wav", "-c:a pcm_s24le -f wav"),
    ("wav", "-c:a pcm_f32le -f wav"),
    ("wav", "-c:a pcm_alaw -f wav"),
    ("wav", "-c:a pcm_mulaw -f wav"),
    ("wav", "-c:a adpcm_ms -f wav"),
    ("wav", "-c:a adpcm_ima_wav -f wav"),
    ("wav", "-ar 8000 -c:a libgsm_ms -f wav"),
    ("wav", "-c:a libmp3lame -f wav"),
    ("wav", "-rf64 always -c:a pcm_s16le -f wav"),
    ("w64", "-c:a pcm_s16le -f w64"),
    ("aiff", "-c:a pcm_s16be -f aiff"),
    ("aiff", "-c:a pcm_s24be -f aiff"),
    ("aiff", "-c:a pcm_mulaw -f aiff"),
    ("aiff", "-c:a adpcm_ima_qt -f aiff"),
    ("caf", "-c:a pcm_s16be -f caf"),
    ("caf", "-c:a pcm_s24le -f caf"),
    ("caf", "-c:a pcm_mulaw -f caf"),
    ("caf", "-c:a adpcm_ima_qt -f caf"),
    ("au", "-f au"),
    ("flac", "-c:a flac -f flac"),
    ("wv", "-c:a wavpack -frame_size 4096 -f wv"),
    ("mp3", "-c:a libmp3lame -f mp3"),
    ("mp3", "-c:a libmp3lame -q:a 4 -f mp3"),
    ("mp3", "-c:a libmp3lame -write_xing 0 -f mp3"),
    ("mp2", "-c:a mp2 -b:a 64k -f mp2"),
    ("mpeg", "-ar 48000 -c:a mp2 -b:a 384k -f mp2"),
    ("aac", "-c:a aac -f adts"),
    ("m4a", "-c:a aac -movflags faststart -f mp4"),
    ("m4a", "-c:a alac -movflags faststart -f mp4"),
    ("m4a", "-c:a aac -movflags frag_keyframe+empty_moov -frag_duration 500000 -f mp4"),
    ("mov", "-c:a aac -movflags faststart -f mov"),
    ("mov", "-c:a pcm_s16le -movflags faststart -f mov"),
    ("ogg", "-ar 48000 -c:a libvorbis -b:a 128k -page_duration 200000 -f ogg"),
    ("opus", "-c:a libopus -page_duration 200000 -f ogg"),
    ("ogg", "-c:a flac -page_duration 200000 -f ogg"),
    ("ogg", "-c:a libspeex -page_duration 200000 -f ogg"),
    ("webm", "-c:a libopus -f webm"),
    ("webm", "-c:a libopus -live 1 -f webm"),
    ("mkv", "-c:a aac -f matroska"),
    ("mkv", "-c:a pcm_s16le -f matroska"),
    ("wma", "-c:a wmav2 -f asf"),
    ("avi", "-c:a pcm_s16le -f avi"),
    ("avi", "-ar 44100 -c:a libmp3lame -b:a 128k -f avi"),
    ("flv", "-ar 22050 -c:a libmp3lame -f flv"),
    ("flv", "-ar 22050 -c:a libmp3lame -flvflags no_duration_filesize -f flv"),
    ("ts", "-c:a mp2 -b:a 64k -f mpegts"),
    ("ts", "-c:a aac -f mpegts"),
    ("mpeg", "-c:a mp2 -b:a 64k -f mpeg"),
    ("gsm", "-ar 8000 -c:a libgsm -f gsm"),
];

/// As an encoder leaves a file that it cannot go back in.
const PIPED: [(&str, &str); 10] = [
    ("wav", "-f wav"),
    ("aiff", "-f aiff"),
    ("caf", "-f caf"),
    ("au", "-f au"),
    ("avi", "-c:a pcm_s16le -f avi"),
    ("wma", "-c:a wmav2 -f asf"),
    ("flv", "-ar 22050 -c:a libmp3lame -f flv"),
    ("webm", "-c:a libopus -f webm"),
    ("mkv", "-c:a aac -f matroska"),
    ("opus", "-c:a libopus -f ogg"),
];

fn sound() -> Vec<u8> {
    noise(SECONDS, &[(0, SECONDS)])
}

/// Whether a share, in percent, of the sound is there.
fn is_about(probe: &Probe, share: usize) -> bool {
    let expected = SECONDS * 10 * share;
    probe.duration_ms.is_some_and(|duration| (duration as usize).abs_diff(expected) <= SECONDS * 75)
}

/// What is left of a recording, of which this share, in percent, was copied. Most end within a frame.
fn kept<'b>(format: &str, bytes: &'b [u8], share: usize) -> &'b [u8] {
    // No frame ends four bytes behind.
    let mut end = bytes.len().min(bytes.len() * share / 100 + 4);
    match format {
        // Behind the first packet of several that a frame is in.
        "ts" if share == 60 => {
            let frame = bytes[..end].windows(4).rposition(|start| start == [0, 0, 1, 0xc0]).unwrap();
            end = frame.next_multiple_of(188);
        }
        // Between two pages; the last one of a recording is marked.
        "ogg" | "opus" if share == 60 => {
            end = bytes[..end].windows(4).rposition(|name| name == b"OggS").unwrap()
        }
        _ => {}
    }
    &bytes[..end]
}

/// The hint that the format needs.
fn extension(format: &str) -> Option<&str> {
    (format == "g729").then_some(format)
}

#[tokio::test]
async fn a_recording_that_was_cut_off_is_heard_as_far_as_it_goes() {
    if !has_ffmpeg("a_recording_that_was_cut_off") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let whole = sound();
    let mut files: Vec<(&str, &str, Vec<u8>)> =
        CONVERTED.into_iter().map(|(format, options)| (format, options, encoded(&whole, options))).collect();
    files.push(("3gp", "amr", remuxed(&amr(SECONDS), "amr", "-movflags faststart -f 3gp")));
    files.push(("amr", "amr", amr(SECONDS)));
    files.push(("wav", "g729", g729(SECONDS as u32)));
    files.push(("g729", "g729", g729(SECONDS as u32).split_off(46)));
    for (format, options, bytes) in &files {
        for share in [100, 60] {
            let kept = kept(format, bytes, share);
            let (probe, sound) = heard(&workers, kept, extension(format)).await;
            let name = format!("{share} % of {format} {options}: {probe:?}");
            assert_eq!((probe.format.as_str(), probe.truncated), (*format, share < 100), "{name}");
            assert!(is_about(&probe, share) && sound.chars().all(|half| half == '#'), "{name}: {sound}");
        }
    }
}

#[tokio::test]
async fn a_recording_whose_length_was_not_known_when_it_began_is_whole() {
    if !has_ffmpeg("a_recording_whose_length_was_not_known") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    for (format, options) in PIPED {
        let bytes = encoded(&sound(), &format!("-seekable 0 {options}"));
        let (probe, sound) = heard(&workers, &bytes, None).await;
        assert_eq!((probe.format.as_str(), probe.truncated), (format, false), "{probe:?}");
        assert!(is_about(&probe, 100) && sound.chars().all(|half| half == '#'), "{probe:?} {sound}");
    }
}

#[tokio::test]
async fn between_two_frames_nothing_tells_that_a_recording_was_cut_off() {
    if !has_ffmpeg("between_two_frames") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let converted = |options: &str| encoded(&sound(), options);
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let fragments = "-movflags frag_keyframe+empty_moov -frag_duration 500000";
    // Where the first frame begins, and how long a frame is. Nothing counts them.
    type Length<'l> = &'l dyn Fn(&[u8]) -> usize;
    let table: [(&str, Vec<u8>, usize, Length); 8] = [
        ("amr", amr(SECONDS), 6, &|_| 32),
        ("gsm", converted("-ar 8000 -c:a libgsm -f gsm"), 0, &|_| 33),
        ("g729", g729(SECONDS as u32).split_off(46), 0, &|_| 10),
        // A recorder that could not go back.
        ("wav", converted("-seekable 0 -c:a pcm_s16le -f wav"), 78, &|_| 2),
        // A constant bit rate, and no tag of the encoder.
        ("mp3", converted("-c:a libmp3lame -b:a 24k -write_xing 0 -id3v2_version 0 -f mp3"), 0, &|_| 108),
        ("aac", converted("-c:a aac -f adts"), 0, &|head| big_endian(&head[3..6]) >> 5 & 0x1fff),
        ("flv", converted("-ar 22050 -c:a libmp3lame -flvflags no_duration_filesize -f flv"), 13, &|head| {
            big_endian(&head[1..4]) + 15
        }),
        // A fragment is two boxes, behind the index.
        ("m4a", converted(&format!("-c:a aac {fragments} -f mp4")), 0, &|boxes| {
            let first = big_endian(&boxes[..4]);
            if boxes[4..8] == *b"moof" { first + big_endian(&boxes[first..first + 4]) } else { first }
        }),
    ];
    for (format, bytes, first, length) in table {
        let mut end = first;
        while end < bytes.len() * 6 / 10 {
            end += length(&bytes[end..]);
        }
        let (probe, _) = heard(&workers, &bytes[..end], extension(format)).await;
        assert_eq!((probe.format.as_str(), probe.truncated), (format, false), "{probe:?}");
        assert!(is_about(&probe, end * 100 / bytes.len()), "{probe:?}");
    }
}

#[tokio::test]
async fn a_recording_without_what_a_recorder_writes_last_fails() {
    if !has_ffmpeg("a_recording_without_what_a_recorder_writes_last") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    for (options, missing) in [
        ("-c:a aac -f mp4", "its index (moov) is missing"),
        ("-c:a aac -f mov", "its index (moov) is missing"),
        ("-c:a aac -f 3gp", "its index (moov) is missing"),
        ("-c:a alac -f caf", "the table of its packets (pakt) is missing"),
    ] {
        let bytes = encoded(&sound(), options);
        let error = workers.probe(&file(&bytes[..bytes.len() * 2 / 3]), None).await.unwrap_err();
        assert!(
            error.code() == "TruncatedAudio" && error.to_string().contains(missing),
            "{options}: {error}"
        );
    }
}
