//! Recordings as encoders, recorders and broken copies leave them: how long they are, and what is heard where.

use hark_sdk::event::TimeSpan;
use harkd::audio::{AnalysisPlan, Probe, Section};
use harkd::config::PieceFormat;

use super::*;
use crate::support::ffmpeg::{converted, g729, has_ffmpeg};

/// A WAV file of so many seconds, 16 kHz, mono: noise between these seconds, else silence.
pub(super) fn noise(seconds: usize, loud: &[(usize, usize)]) -> Vec<u8> {
    const RATE: usize = 16_000;
    let mut state = 1_u64;
    let samples = (0..seconds * RATE).flat_map(|at| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_loud = loud.iter().any(|(begin, end)| (begin * RATE..end * RATE).contains(&at));
        (if is_loud { (state >> 50) as i16 } else { 0 }).to_le_bytes()
    });
    let samples: Vec<u8> = samples.collect();
    let mut file = wav(samples.len() as u32);
    file[24..32].copy_from_slice(&[16_000_u32.to_le_bytes(), 32_000_u32.to_le_bytes()].concat());
    file[44..].copy_from_slice(&samples);
    file
}

/// Three seconds with a sound in the second one, and two seconds of sound.
fn two() -> [Vec<u8>; 2] {
    [noise(3, &[(1, 2)]), noise(2, &[(0, 2)])]
}

pub(super) fn encoded(wav: &[u8], options: &str) -> Vec<u8> {
    converted(wav, "wav", options)
}

pub(super) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A recording's probe, and for each half second of it whether there is sound (`#`) or silence (`.`).
pub(super) async fn heard(workers: &Workers, bytes: &[u8], extension: Option<&str>) -> (Probe, String) {
    let file = file(bytes);
    let probe = workers.probe(&file, extension).await.unwrap();
    let parts = vec![TimeSpan { begin_ms: 0, end_ms: probe.duration_ms.unwrap() / 500 * 500 }];
    let section = Section { channel: None, parts };
    let piece = workers.piece(&file, extension, section, PieceFormat::Wav).await.unwrap();
    let half = |samples: &[u8]| {
        // Codecs delay the sound: its end is in the first quarter of the next half second.
        let samples = samples[4_000..].chunks_exact(2);
        let level = samples.map(|two| i16::from_le_bytes([two[0], two[1]]).unsigned_abs()).max();
        if level > Some(2_000) { '#' } else { '.' }
    };
    (probe, piece[44..].chunks_exact(16_000).map(half).collect())
}

#[tokio::test]
async fn joined_and_fragmented_recordings_are_heard_to_their_end() {
    if !has_ffmpeg("joined_and_fragmented_recordings") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let [first, second] = two();
    let both = noise(5, &[(1, 2), (3, 5)]);
    let chained = |options: &str| [encoded(&first, options), encoded(&second, options)].concat();
    let fragments = "-movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 1000000 -f mp4";
    for (name, format, codec, bytes) in [
        ("chained vorbis", "ogg", "vorbis", chained("-c:a libvorbis -f ogg")),
        ("chained opus", "opus", "opus", chained("-c:a libopus -f ogg")),
        (
            "chained vorbis of another rate",
            "ogg",
            "vorbis",
            [
                encoded(&first, "-c:a libvorbis -f ogg"),
                encoded(&second, "-ar 44100 -ac 2 -c:a libvorbis -f ogg"),
            ]
            .concat(),
        ),
        ("fragmented aac", "m4a", "aac", encoded(&both, &format!("-c:a aac {fragments}"))),
        ("fragmented opus", "mp4", "opus", encoded(&both, &format!("-c:a libopus -strict -2 {fragments}"))),
        ("aac without an index", "aac", "aac", encoded(&both, "-c:a aac -f adts")),
    ] {
        let (probe, sound) = heard(&workers, &bytes, None).await;
        assert_eq!((probe.format.as_str(), probe.codec.as_deref()), (format, Some(codec)), "{name}");
        let duration = probe.duration_ms.unwrap();
        assert!((5_000..5_130).contains(&duration) && !probe.truncated, "{name}: {probe:?}");
        assert_eq!(sound, "..##..####", "{name}");
    }
}

#[tokio::test]
async fn tags_before_and_behind_an_mp3_are_no_audio() {
    if !has_ffmpeg("tags_before_and_behind_an_mp3") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let bare = encoded(&noise(3, &[(1, 2)]), "-c:a libmp3lame -id3v2_version 0 -write_xing 0 -f mp3");
    // A picture of 3 MiB, of bytes that look like the begin of frames.
    let picture = [&b"ID3\x03\0\0\x01\x40\0\0APIC\0\x2f\xff\xf6\0\0"[..], &[0xff; (3 << 20) - 10]].concat();
    let sizes = [2_000_u32, 60, 1].map(u32::to_le_bytes).concat();
    let ape = |flags: u32| [b"APETAGEX", &sizes[..], &flags.to_le_bytes(), &[0; 8]].concat();
    let title = b"\x0e\0\0\0\0\0\0\0Title\0abcdefghijklmn";
    let trailer = [&ape(0xa000_0000)[..], title, &ape(0x8000_0000), b"TAG", &[b'a'; 125]].concat();
    for (name, bytes) in [
        ("none", bare.clone()),
        ("a large picture", [&picture[..], &bare].concat()),
        ("APE and ID3v1", [&bare[..], &trailer].concat()),
        ("all of them", [&picture[..], &bare, &trailer].concat()),
    ] {
        let (probe, sound) = heard(&workers, &bytes, None).await;
        assert_eq!((probe.format.as_str(), probe.truncated), ("mp3", false), "{name}");
        assert!((3_000..3_110).contains(&probe.duration_ms.unwrap()), "{name}: {probe:?}");
        assert_eq!(sound, "..##..", "{name}");
    }
    let error = workers.probe(&file(&picture[..1 << 20]), Some("mp3")).await.unwrap_err();
    assert!(error.code() == "TruncatedAudio" && error.to_string().contains("nothing after it"), "{error}");
}

#[tokio::test]
async fn speech_of_telephone_exchanges_is_heard_without_a_header() {
    if !has_ffmpeg("speech_of_telephone_exchanges") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let gsm = encoded(&noise(3, &[(0, 3)]), "-ar 8000 -c:a libgsm -f gsm");
    let bare = g729(3).split_off(46);
    for (format, bytes, extension) in
        [("gsm", &gsm, Some("gsm")), ("gsm", &gsm, None), ("g729", &bare, Some("G729"))]
    {
        let (probe, sound) = heard(&workers, bytes, extension).await;
        assert_eq!((probe.format.as_str(), probe.duration_ms), (format, Some(3_000)));
        assert_eq!(sound, "######", "{format}");
    }
    // Nothing in the bytes tells G.729 or G.723.1, so the name has to; and it does not make audio of what is none.
    for (bytes, extension, code, said) in [
        (&bare[..], None, "NotAudio", "nothing in its first bytes"),
        (b"Dear Sir or Madam", Some("g729"), "NotAudio", "looks like text"),
        (&[0; 500], Some("g729"), "NotAudio", "zeros"),
    ] {
        let error = workers.probe(&file(bytes), extension).await.unwrap_err();
        assert!(error.code() == code && error.to_string().contains(said), "{extension:?}: {error}");
    }
    let probe = workers.probe(&file(&bare), Some("g723")).await.unwrap();
    let said = probe.undecodable.unwrap();
    assert!(
        probe.format == "g723" && said.contains("several forms") && said.contains("convert it to WAV"),
        "{said}"
    );
}

#[tokio::test]
async fn mp3_of_any_rate_has_its_length_in_any_container() {
    if !has_ffmpeg("mp3_of_any_rate") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let call = noise(3, &[(1, 2)]);
    for rate in [8_000, 11_025, 12_000, 16_000, 22_050, 24_000] {
        // The frames are larger than AVI says.
        let mp3 =
            |muxer: &str| encoded(&call, &format!("-ar {rate} -ac 2 -c:a libmp3lame -b:a 160k {muxer}"));
        let bare = heard(&workers, &mp3("-write_xing 0 -f mp3"), None).await.0.duration_ms.unwrap();
        assert!((3_000..3_300).contains(&bare), "{rate}: {bare}");
        for muxer in ["-f avi", "-f matroska", "-f mov", "-f mp4"] {
            // Such rates are none of MP4's.
            if muxer == "-f mp4" && rate < 16_000 {
                continue;
            }
            let (probe, sound) = heard(&workers, &mp3(muxer), None).await;
            assert_eq!(probe.channels, Some(2), "{rate} {muxer}");
            // Some of these tell what the encoder puts in front.
            let lead = if muxer.contains("-f m") { 1_105 * 1_000 / rate } else { 0 };
            let length = probe.duration_ms.unwrap();
            assert!(
                (bare - lead..=bare).any(|it| it.abs_diff(length) <= 100),
                "{rate} {muxer}: {length} of {bare}"
            );
            assert!(rate < 16_000 || sound == "..##..", "{rate} {muxer}: {sound}");
        }
    }
}

#[tokio::test]
async fn the_channels_of_mp3_in_iso_media_are_told_apart() {
    if !has_ffmpeg("the_channels_of_mp3") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let plan = AnalysisPlan { longest_ms: Some(10_000), split: true, skip_silence: true };
    for (options, channels) in [("-ac 2 -f mp4", 2), ("-ac 2 -f mov", 2), ("-ac 1 -f mp4", 1)] {
        let file = file(&encoded(&noise(8, &[(1, 2), (5, 6)]), &format!("-c:a libmp3lame {options}")));
        let probe = workers.probe(&file, None).await.unwrap();
        assert_eq!((probe.codec.as_deref(), probe.channels), (Some("mp3"), Some(channels)), "{options}");
        let found = workers.analyze(&file, None, plan, |_| ()).await.unwrap();
        assert_eq!(found.channels.len() as u32, channels, "{options}");
        let section = Section { channel: Some(channels - 1), ..found.sections[0].clone() };
        let piece = workers.piece(&file, None, section.clone(), PieceFormat::Wav).await.unwrap();
        assert_eq!(piece.len() as u64, 44 + 32 * section.length(), "{options}");
    }
}

/// By how many milliseconds a piece that begins at `begin_ms` of the recording is later than the noise from 6 s on in it.
fn lateness(wav: &[u8], piece: &[u8], begin_ms: usize) -> f64 {
    let samples = |bytes: &[u8]| -> Vec<f64> {
        let samples = bytes[44..].chunks_exact(2);
        samples.map(|two| f64::from(i16::from_le_bytes([two[0], two[1]]))).collect()
    };
    let (sent, heard) = (samples(wav), samples(piece));
    let (sent, at) = (&sent[96_000..104_000], 96_000 - begin_ms * 16);
    let likeness = |late: &i64| -> i64 {
        let from = at.strict_add_signed(*late as isize);
        sent.iter().zip(&heard[from..]).map(|(one, other)| one * other).sum::<f64>() as i64
    };
    (-1_600..=1_600_i64).max_by_key(likeness).unwrap() as f64 / 16.0
}

#[tokio::test]
async fn what_an_encoder_puts_in_front_moves_no_time() {
    if !has_ffmpeg("what_an_encoder_puts_in_front") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let call = noise(8, &[(1, 2), (6, 7)]);
    for options in [
        "-c:a aac -f mp4",
        "-c:a aac -f mov",
        "-ar 44100 -ac 2 -c:a aac -f ipod",
        "-c:a libmp3lame -f mp4",
        "-c:a libopus -strict -2 -f mp4",
    ] {
        let file = file(&encoded(&call, options));
        let length = workers.probe(&file, None).await.unwrap().duration_ms.unwrap();
        assert!(length.abs_diff(8_000) <= 70, "{options}: {length}");
        // A place that is jumped to, and one that is decoded up to.
        for begin_ms in [5_500, 0] {
            let section = Section { channel: None, parts: vec![TimeSpan { begin_ms, end_ms: 7_500 }] };
            let piece = workers.piece(&file, None, section, PieceFormat::Wav).await.unwrap();
            let late = lateness(&call, &piece, begin_ms as usize);
            assert!(late.abs() <= 10.0, "{options}: {late} ms late from {begin_ms} on");
        }
    }
}
