//! Decoding of the fixtures, of made-up WAV files of every kind, and of joined, damaged and interrupted ones.

use hark_sdk::event::TimeSpan;

use super::super::analysis::{Analysis, AnalysisPlan, Progress, analyze};
use super::super::decode::Decoder;
use super::super::encode::piece;
use super::super::probe::Content;
use super::super::resample::RATE;
use super::super::signals::Signals;
use super::super::source::Source;
use super::super::time::Time;
use super::super::{ProbeError, Section};
use super::*;
use crate::config::PieceFormat;

/// Seconds of a tone of 440 Hz at -6 dBFS, as numbers from -1 to 1.
fn tone(seconds: f64, rate: u32) -> Vec<f64> {
    let count = (seconds * f64::from(rate)) as usize;
    (0..count).map(|at| 0.5 * (at as f64 * 440.0 * std::f64::consts::TAU / f64::from(rate)).sin()).collect()
}

fn pcm16(samples: &[f64]) -> Vec<u8> {
    samples.iter().flat_map(|sample| ((sample * 32_767.0) as i16).to_le_bytes()).collect()
}

/// A WAV file with this fmt chunk.
fn wav_of(format: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = wav(1, 8_000, 16, data.len() as u32, data);
    bytes.splice(16..36, [&(format.len() as u32).to_le_bytes(), format].concat());
    bytes
}

fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block = channels * (bits / 8);
    [
        &tag.to_le_bytes()[..],
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &(rate * u32::from(block)).to_le_bytes(),
        &block.to_le_bytes(),
        &bits.to_le_bytes(),
    ]
    .concat()
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn decoder(bytes: &[u8]) -> Decoder {
    let mut source = Source::new(file_of(bytes)).unwrap();
    let content = Content::find(&mut source, None).unwrap();
    Decoder::open(source, content, Signals::Mixed).unwrap()
}

/// All samples, with the rate of the last ones.
pub(super) fn decode(bytes: &[u8]) -> (Vec<f32>, u32) {
    let (mut decoder, mut samples, mut rate) = (decoder(bytes), Vec::new(), 0);
    while let Some(block) = decoder.next(Time::MAX).unwrap() {
        samples.extend_from_slice(block.signal(0));
        rate = block.rate;
    }
    (samples, rate)
}

fn analysis_of(bytes: &[u8], longest_ms: u64) -> Result<Analysis, ProbeError> {
    let mut told = Vec::new();
    let mut heard = |heard| {
        if let Progress::Piece(section) = heard {
            told.push(section);
        }
        Ok(())
    };
    let plan = AnalysisPlan { longest_ms: Some(longest_ms), ..AnalysisPlan::default() };
    let found = analyze(Source::new(file_of(bytes)).unwrap(), None, plan, &mut heard);
    if let Ok(found) = &found {
        assert_eq!(found.sections, told);
    }
    found
}

fn piece_of(decoder: &mut Decoder, begin_ms: u64, end_ms: u64, format: PieceFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut send = |made: &[u8]| {
        bytes.extend_from_slice(made);
        Ok(())
    };
    piece(decoder, &[TimeSpan { begin_ms, end_ms }], format, &mut send).unwrap();
    bytes
}

/// The root mean square.
fn level(samples: &[f32]) -> f32 {
    (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

#[test]
fn every_kind_of_wav_decodes_to_the_same_tone() {
    let tone = tone(1.0, 8_000);
    let two: Vec<f64> = tone.iter().flat_map(|sample| [*sample, *sample]).collect();
    let wide = |sample: &f64| ((sample * 8_388_607.0) as i32).to_le_bytes()[..3].to_vec();
    let guid = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
    let extensible = |tag: u16, bits: u16| {
        let valid = [&22_u16.to_le_bytes()[..], &bits.to_le_bytes(), &4_u32.to_le_bytes()].concat();
        [format(0xfffe, 1, 8_000, bits), valid, tag.to_le_bytes().to_vec(), guid.to_vec()].concat()
    };
    let mulaw: Vec<u8> = tone.iter().map(|sample| mulaw((sample * 32_767.0) as i16)).collect();
    let floats: Vec<u8> = tone.iter().flat_map(|sample| (*sample as f32).to_le_bytes()).collect();
    let doubles: Vec<u8> = tone.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let bytes: Vec<u8> = tone.iter().map(|sample| (sample * 127.0 + 128.0) as u8).collect();
    let wide: Vec<u8> = tone.iter().flat_map(wide).collect();
    let mut wrong_block = format(1, 1, 8_000, 16);
    wrong_block[12] = 4;
    for (name, file) in [
        ("16 bit", wav_of(&format(1, 1, 8_000, 16), &pcm16(&tone))),
        ("stereo", wav_of(&format(1, 2, 8_000, 16), &pcm16(&two))),
        ("8 bit", wav_of(&format(1, 1, 8_000, 8), &bytes)),
        ("24 bit", wav_of(&format(1, 1, 8_000, 24), &wide)),
        ("float", wav_of(&format(3, 1, 8_000, 32), &floats)),
        ("double", wav_of(&format(3, 1, 8_000, 64), &doubles)),
        ("mu-law", wav_of(&format(7, 1, 8_000, 8), &mulaw)),
        ("extensible", wav_of(&extensible(1, 24), &wide)),
        ("extensible float", wav_of(&extensible(3, 32), &floats)),
        ("extensible mu-law", wav_of(&extensible(7, 8), &mulaw)),
        ("wrong block align", wav_of(&wrong_block, &pcm16(&tone))),
    ] {
        let (samples, rate) = decode(&file);
        assert_eq!((samples.len(), rate), (8_000, 8_000), "{name}");
        assert!((level(&samples) - 0.3535).abs() < 0.01, "{name}: {}", level(&samples));
        assert!((samples[1] - 0.5 * 0.3387).abs() < 0.02, "{name}: {}", samples[1]);
    }
}

#[test]
fn quicktime_has_samples_in_both_byte_orders() {
    let big = read("in24.mov");
    let media = big.windows(4).position(|it| it == b"mdat").unwrap() + 4;
    let mut little = big.clone();
    little[media..media + 6_000].as_chunks_mut::<3>().0.iter_mut().for_each(|sample| sample.reverse());
    let order = big.windows(4).position(|it| it == b"enda").unwrap() + 5;
    little[order] = 1;
    let (samples, rate) = decode(&big);
    assert_eq!((samples.len(), rate), (2_000, 8_000));
    assert!((level(&samples) - 0.3535).abs() < 0.01, "{}", level(&samples));
    assert_eq!(decode(&little).0, samples);

    // Symphonia knows these samples on one channel and on two.
    let mut four = big;
    let entry = four.windows(4).position(|it| it == b"in24").unwrap();
    four[entry + 20..entry + 22].copy_from_slice(&4_u16.to_be_bytes());
    let found = probe_bytes(&four).unwrap();
    assert_eq!((found.codec.as_deref(), found.duration_ms), (Some("pcm"), None), "left to ffmpeg");
}

/// G.711, by the book.
fn mulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs().min(32_635)) + 0x84;
    let exponent = (magnitude >> 7).ilog2().min(7) as u8;
    let mantissa = (magnitude >> (exponent + 3) & 0xf) as u8;
    !(sign | exponent << 4 | mantissa)
}

#[test]
fn lengths_that_a_header_does_not_know_or_gets_wrong_do_not_shorten_what_is_heard() {
    let tone = pcm16(&tone(2.0, 8_000));
    for declared in [0, 8_000, 32_000, 0x7fff_f000, 0xffff_ffff] {
        assert_eq!(decode(&wav(1, 8_000, 16, declared, &tone)).0.len(), 16_000, "{declared:x}");
    }
    let other = [b"LIST".as_slice(), &4u32.to_le_bytes(), b"junk", &[b'x'; 5_000]].concat();
    assert_eq!(decode(&wav(1, 8_000, 16, 32_000, &[&tone[..], &other].concat())).0.len(), 16_000);
    // An odd chunk without its padding.
    let mut odd = wav(1, 8_000, 16, 32_000, &tone);
    odd.splice(36..36, [b"LIST".as_slice(), &5u32.to_le_bytes(), b"INFOx"].concat());
    let found = probe_bytes(&odd).unwrap();
    assert!(found.misleading_header && found.duration_ms == Some(2_000), "{found:?}");
    assert_eq!(decode(&odd).0.len(), 16_000);
}

#[test]
fn a_wav_header_that_other_readers_refuse_or_believe_is_reported() {
    let tone = pcm16(&tone(1.0, 8_000));
    let header = |riff: u32, block: u16, data: u32| {
        let mut bytes = wav(1, 8_000, 16, data, &tone);
        bytes[4..8].copy_from_slice(&riff.to_le_bytes());
        bytes[32..34].copy_from_slice(&block.to_le_bytes());
        bytes
    };
    let open = u32::MAX;
    let mut long = header(open, 2, 16_000);
    long[..4].copy_from_slice(b"RF64");
    let table = [
        ("right", header(16_036, 2, 16_000), false),
        ("written to a pipe", header(open, 2, open), false),
        ("written to a pipe by another program", header(0x7fff_ffff, 2, 0x7fff_ffff - 36), false),
        ("more than is there", header(32_036, 2, 32_000), false),
        ("the block align of stereo", header(16_036, 4, 16_000), true),
        ("less than is there", header(4_036, 2, 4_000), true),
        ("its recorder died", header(0, 2, 0), true),
        ("its recorder died, in another way", header(36, 2, 0), true),
        ("the file's own size was never filled in", header(36, 2, 16_000), true),
        ("sizes of 64 bits", long, true),
    ];
    for (what, bytes, expected) in table {
        let found = probe_bytes(&bytes).unwrap();
        assert_eq!((found.duration_ms, found.misleading_header), (Some(1_000), expected), "{what}");
    }
}

#[test]
fn every_fixture_decodes_to_its_length() {
    for name in super::FIXTURES.iter().filter(|name| !["wav", "silent.mp4"].contains(name)) {
        let bytes = read(name);
        let expected = probe_bytes(&bytes).unwrap().duration_ms.unwrap();
        let (samples, rate) = decode(&bytes);
        let length = samples.len() as u64 * 1000 / u64::from(rate);
        assert!(length.abs_diff(expected) <= 35, "{name}: {length} of {expected}");
        assert!(level(&samples) > 0.001, "{name} is silent: {}", level(&samples));
    }
}

/// Of a telephone: 8 kHz, a tone that begins at 300 Hz and rises by 1,200 Hz a second.
#[test]
fn narrow_opus_keeps_its_pitch() {
    let (samples, rate) = decode(&read("narrow.opus"));
    let tenths = samples.chunks_exact(rate as usize / 10);
    for (number, tenth) in tenths.enumerate().skip(1).take(12) {
        let heard = tenth.windows(2).filter(|two| two[0] < 0.0 && two[1] >= 0.0).count() as f64 * 10.0;
        let played = 300.0 + 1_200.0 * (number as f64 + 0.5) / 10.0;
        assert!((heard - played).abs() < 60.0, "{heard} Hz where {played} Hz are played");
    }
}

#[test]
fn joined_streams_follow_each_other() {
    for (name, once) in [("tagged.mp3", 1_500), ("call.opus", 1_506), ("call.ogg", 1_500)] {
        let bytes = read(name).repeat(3);
        let (samples, rate) = decode(&bytes);
        let length = samples.len() as u64 * 1000 / u64::from(rate);
        assert!(length.abs_diff(3 * once) < 200, "{name}: {length}");
        // The last third is heard too.
        assert!(level(&samples[samples.len() * 5 / 6..]) > 0.001, "{name}");
    }
}

#[test]
fn a_place_that_is_jumped_to_holds_what_it_holds_when_it_is_played() {
    let tone: Vec<f64> =
        tone(9.0, 8_000).iter().enumerate().map(|(at, it)| it * at as f64 / 72_000.0).collect();
    let whole = wav(1, 8_000, 16, 144_000, &pcm16(&tone));
    let mut files: Vec<(String, Vec<u8>)> = vec![("wav".into(), whole)];
    for name in
        ["tagged.mp3", "cbr.mp3", "call.aac", "call.ogg", "call.opus", "call.flac", "call.m4a", "call.webm"]
    {
        let times = if ["call.flac", "call.m4a", "call.webm"].contains(&name) { 1 } else { 5 };
        files.push((name.into(), read(name).repeat(times)));
    }
    for (name, file) in files {
        let (all, rate) = decode(&file);
        let mut decoder = decoder(&file);
        // Forward, back, and forward again.
        for share in [0.5, 0.1, 0.8] {
            let from = (all.len() as f64 * share) as u64;
            let to = Time::try_from(u128::from(from) * 1_000_000_000 / u128::from(rate)).unwrap();
            decoder.go_to(to).unwrap();
            let block = decoder.next(Time::MAX).unwrap().unwrap();
            assert!((block.begin - to).abs() < 1_000_000, "{name}: {} for {to}", block.begin);
            let count = block.len().min(100);
            let there = &all[from as usize..from as usize + count];
            let apart: Vec<f32> = there.iter().zip(block.signal(0)).map(|(one, other)| one - other).collect();
            assert!(level(&apart) < 0.05, "{name} at {share}: {} of {}", level(&apart), level(there));
        }
    }
}

#[test]
fn pieces_in_order_are_the_recording() {
    let tone = tone(5.0, 8_000);
    let file = wav(1, 8_000, 16, 80_000, &pcm16(&tone));
    let (mut decoder, mut joined) = (decoder(&file), Vec::new());
    for (begin, end) in [(0, 1_700), (1_700, 1_716), (1_716, 4_000), (4_000, 5_000)] {
        let bytes = piece_of(&mut decoder, begin, end, PieceFormat::Wav);
        assert_eq!(bytes.len() as u64, 44 + (end - begin) * 32);
        let found = probe_bytes(&bytes).unwrap();
        assert_eq!(
            (found.duration_ms, found.channels, found.sample_rate),
            (Some(end - begin), Some(1), Some(RATE))
        );
        let (samples, _) = decode(&bytes);
        joined.extend(samples);
        let flac = piece_of(&mut self::decoder(&file), begin, end, PieceFormat::Flac);
        let found = probe_bytes(&flac).unwrap();
        assert_eq!(
            (found.duration_ms, found.format.as_str(), found.truncated),
            (Some(end - begin), "flac", false)
        );
        assert_eq!(decode(&flac).0, decode(&bytes).0, "FLAC loses nothing");
    }
    let expected = self::tone(5.0, RATE);
    let apart: Vec<f32> = joined.iter().zip(&expected).map(|(one, other)| one - *other as f32).collect();
    assert_eq!(joined.len(), expected.len());
    assert!(level(&apart[1_000..26_000]) < 0.01, "{}", level(&apart[1_000..26_000]));
}

#[test]
fn a_piece_behind_the_end_is_silence() {
    let file = wav(1, 8_000, 16, 16_000, &pcm16(&tone(1.0, 8_000)));
    let bytes = piece_of(&mut decoder(&file), 5_000, 6_000, PieceFormat::Wav);
    assert_eq!((bytes.len(), level(&decode(&bytes).0)), (44 + 32_000, 0.0));
}

#[test]
fn silence_is_not_sent_and_all_else_is() {
    let silence = vec![0.0; 8_000 * 40];
    let (quiet, tone) =
        (tone(40.0, 8_000).iter().map(|it| it * 0.003).collect::<Vec<_>>(), tone(40.0, 8_000));
    let file = |parts: &[&[f64]]| {
        let data = pcm16(&parts.concat());
        wav(1, 8_000, 16, data.len() as u32, &data)
    };
    // -61 dBFS and less is silence.
    let found = analysis_of(&file(&[&silence, &quiet]), 10_000).unwrap();
    assert!(found.silent && found.sections.is_empty() && found.speech_ms == 0, "{found:?}");
    assert_eq!(found.probe.duration_ms, Some(80_000));
    let found = analysis_of(&file(&[&silence, &tone, &silence]), 10_000).unwrap();
    let sent: u64 = found.sections.iter().map(Section::length).sum();
    assert!(!found.silent && (40_000..60_000).contains(&sent), "{found:?}");
    assert!(
        found.sections[0].begin_ms() <= 40_000 && found.sections.last().unwrap().end_ms() >= 80_000,
        "{found:?}"
    );
}

#[test]
fn a_channel_that_is_the_other_one_inverted_is_heard() {
    let samples: Vec<f64> = tone(3.0, 8_000).iter().flat_map(|sample| [*sample, -sample]).collect();
    let file = wav(2, 8_000, 16, 96_000, &pcm16(&samples));
    let found = analysis_of(&file, 30_000).unwrap();
    assert!(!found.silent && found.sections.len() == 1, "{found:?}");
    let piece = piece_of(&mut decoder(&file), 0, 3_000, PieceFormat::Wav);
    assert!(level(&decode(&piece).0) > 0.3);
}

#[test]
fn a_survey_ends_where_the_recording_does() {
    let found = analysis_of(&wav(1, 8_000, 16, 80_022, &pcm16(&tone(5.0013, 8_000))), 2_000).unwrap();
    assert_eq!(found.probe.duration_ms, Some(5_001));
    assert_eq!(found.sections.last().unwrap().end_ms(), 5_001);
    assert!(found.sections.iter().all(|section| section.length() <= 2_000), "{found:?}");
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let mut gsm = format(0x31, 1, 8_000, 0);
    gsm[8..14].copy_from_slice(&[0x5a, 6, 0, 0, 65, 0]);
    let error = analysis_of(&wav_of(&gsm, &[0; 650]), 30_000).unwrap_err();
    assert!(error.code() == "UndecodableAudio" && error.to_string().contains("gsm"), "{error}");
    // Its header states twice the bytes of a second.
    let mut g722 = format(0x28f, 1, 16_000, 4);
    g722[8..14].copy_from_slice(&[0x80, 0x3e, 0, 0, 1, 0]);
    let found = probe_bytes(&wav_of(&g722, &[0; 8_000])).unwrap();
    assert!(found.misleading_header && found.duration_ms == Some(1_000), "{found:?}");
    let speex = [&b"OggS"[..], &[0; 24], b"Speex   "].concat();
    let mono_at_384 = [&[0xff, 0xfd, 0xe4, 0xc4][..], &[0; 1148]].concat().repeat(4);
    let bare_gsm = [&[0xd8][..], &[0; 32]].concat().repeat(8);
    for (bytes, named) in [
        (&b"#!AMR\n\x3c"[..], "amr"),
        (&bare_gsm, "gsm"),
        (&speex, "speex in ogg"),
        (&mono_at_384, "mp2 in mpeg"),
    ] {
        let error = analysis_of(bytes, 30_000).unwrap_err();
        assert!(error.code() == "UndecodableAudio" && error.to_string().contains(named), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Damaged files end in an answer. (Symphonia may panic: therefore it runs in the child.)
    #[test]
    fn damage_ends_in_an_answer_and_spans_in_order(
        which in 0..FIXTURES.len(),
        changes in prop::collection::vec((0usize..3_000, any::<u8>()), 1..12),
        keep in 0.3f64..=1.0,
    ) {
        let name = FIXTURES[which];
        let bytes = damaged(name, &changes, keep);
        let outcome = catch_unwind(AssertUnwindSafe(|| analysis_of(&bytes, 1_000)));
        if let Ok(Ok(found)) = outcome {
            let duration = found.probe.duration_ms.unwrap();
            prop_assert!(found.sections.iter().all(|it| it.begin_ms() < it.end_ms() && it.end_ms() <= duration));
            prop_assert!(found.sections.windows(2).all(|two| two[0].end_ms() <= two[1].begin_ms()));
            prop_assert!(found.speech_ms <= duration);
        }
    }
}
