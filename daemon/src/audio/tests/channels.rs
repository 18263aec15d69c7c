//! Recordings of several channels: who speaks when, which channels say nothing of their own, what is sent of each.

use hark_sdk::event::TimeSpan;

use super::super::Section;
use super::super::analysis::{Analysis, AnalysisPlan, analyze};
use super::super::decode::Decoder;
use super::super::encode::piece;
use super::super::probe::Content;
use super::super::signals::Signals;
use super::super::source::Source;
use super::super::time::Time;
use super::*;
use crate::config::PieceFormat;

const RATE: usize = 8_000;

pub(super) const SPLIT: AnalysisPlan =
    AnalysisPlan { longest_ms: Some(180_000), split: true, skip_silence: false };

/// A sentence, spoken at 8 kHz.
pub(super) fn sentence(name: &str) -> Vec<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/samples").join(name);
    let bytes = std::fs::read(path).unwrap();
    bytes[44..].chunks_exact(2).map(|it| f64::from(i16::from_le_bytes([it[0], it[1]])) / 32_768.0).collect()
}

/// A channel of this many seconds with sounds that begin at these seconds.
pub(super) fn channel(seconds: f64, sounds: &[(f64, &[f64])]) -> Vec<f64> {
    let mut samples = vec![0.0; (seconds * RATE as f64) as usize];
    for (begin, sound) in sounds {
        let begin = (begin * RATE as f64) as usize;
        for (sample, other) in samples[begin..].iter_mut().zip(*sound) {
            *sample += other;
        }
    }
    samples
}

fn times(samples: &[f64], gain: f64) -> Vec<f64> {
    samples.iter().map(|sample| sample * gain).collect()
}

/// The samples so many samples later.
fn later(samples: &[f64], shift: usize) -> Vec<f64> {
    [vec![0.0; shift], samples[..samples.len() - shift].to_vec()].concat()
}

/// White noise at this level, another one for each seed.
pub(super) fn noise(count: usize, level_dbfs: f64, mut seed: u32) -> Vec<f64> {
    // The root mean square of numbers from -1 to 1 is 1/√3.
    let gain = 10_f64.powf(level_dbfs / 20.0) * 3_f64.sqrt();
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(seed) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..count).map(|_| next() * gain).collect()
}

pub(super) fn sum(one: &[f64], other: &[f64]) -> Vec<f64> {
    one.iter().zip(other).map(|(one, other)| one + other).collect()
}

pub(super) fn recording(channels: &[&[f64]]) -> Vec<u8> {
    let samples = (0..channels[0].len()).flat_map(|at| channels.iter().map(move |channel| channel[at]));
    let data: Vec<u8> =
        samples.flat_map(|sample| ((sample * 32_768.0).round() as i16).to_le_bytes()).collect();
    wav(channels.len() as u16, RATE as u32, 16, data.len() as u32, &data)
}

pub(super) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(super) fn analysis_of(bytes: &[u8], plan: AnalysisPlan) -> Analysis {
    analyze(Source::new(file(bytes)).unwrap(), None, plan, &mut |_| Ok(())).unwrap()
}

fn doubles(channels: &[&[f64]]) -> Vec<Option<u32>> {
    let found = analysis_of(&recording(channels), SPLIT);
    for (number, channel) in (0..).zip(&found.channels) {
        let is_sent = found.sections.iter().any(|section| section.channel == Some(number));
        assert_eq!(is_sent, channel.is_to_be_sent(), "channel {number}: {channel:?}");
    }
    found.channels.iter().map(|channel| channel.doubles).collect()
}

#[test]
fn a_channel_that_repeats_another_is_found_whatever_its_gain_its_shift_and_its_noise() {
    let ringing: Vec<f64> =
        (0..RATE).map(|at| 0.2 * (at as f64 * 425.0 / RATE as f64 * std::f64::consts::TAU).sin()).collect();
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    let talk = channel(11.0, &[(0.2, &ringing), (1.5, &cancel), (7.0, &thanks)]);
    for (gain, shift, level) in [
        (1.0, 0, -90.0),
        (0.5, 0, -90.0),
        (0.25, 56, -50.0),
        (1.4, 0, -50.0),
        (-1.0, 3, -90.0),
        (0.7, 160, -50.0),
    ] {
        let noise = noise(talk.len(), level, 7);
        let double = sum(&later(&times(&talk, gain), shift), &noise);
        let found = doubles(&[&talk, &double]);
        assert_eq!(found, [None, Some(0)], "gain {gain}, {shift} samples later, noise at {level}");
        // The first one may be the later one.
        let found = doubles(&[&double, &talk]);
        assert_eq!(found, [None, Some(0)], "gain {gain}, {shift} samples earlier, noise at {level}");
    }
    let other = channel(11.0, &[(5.0, &thanks)]);
    assert_eq!(doubles(&[&other, &talk, &times(&talk, 0.5), &other]), [None, None, Some(1), Some(0)]);
}

#[test]
fn a_channel_with_something_of_its_own_is_no_double() {
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    let agent = channel(16.0, &[(0.5, &cancel), (12.0, &thanks)]);
    let customer = channel(16.0, &[(6.0, &thanks)]);
    // Each channel has the other speaker's voice as well, 26 dB quieter.
    let [first, second] =
        [sum(&agent, &later(&times(&customer, 0.05), 80)), sum(&customer, &later(&times(&agent, 0.05), 80))];
    // All is on both, but one sentence.
    let all = sum(&agent, &customer);
    let hum: Vec<f64> = (0..all.len())
        .map(|at| 0.02 * (at as f64 * 50.0 / RATE as f64 * std::f64::consts::TAU).sin())
        .collect();
    for (name, one, other) in [
        ("two speakers", &agent, &customer),
        ("crosstalk", &first, &second),
        ("one sentence more", &agent, &all),
        ("one sentence less", &all, &agent),
        ("the same hum", &sum(&agent, &hum), &sum(&customer, &hum)),
        ("nothing and something", &vec![0.0; all.len()], &agent),
        ("faint crosstalk of the other channel alone", &times(&agent, 0.003), &agent),
        ("the same, loud enough to be sound", &times(&agent, 0.02), &agent),
        ("two speakers above one offset", &above(&agent), &above(&customer)),
    ] {
        assert_eq!(doubles(&[one, other]), [None, None], "{name}");
    }
    assert_eq!(doubles(&[&above(&agent), &agent]), [None, Some(0)], "an offset is no sound");
}

/// The samples quieter, above a constant offset of -10 dBFS, as cheap sound cards add one.
fn above(samples: &[f64]) -> Vec<f64> {
    samples.iter().map(|sample| sample * 0.5 + 0.3).collect()
}

#[test]
fn silent_channels_are_not_sent() {
    let talk = channel(6.0, &[(0.5, &sentence("cancel.wav"))]);
    let found =
        analysis_of(&recording(&[&noise(talk.len(), -66.0, 1), &talk, &vec![0.0; talk.len()]]), SPLIT);
    let silent: Vec<bool> = found.channels.iter().map(|channel| channel.is_silent).collect();
    assert_eq!((silent, found.silent), (vec![true, false, true], false));
    let sent: Vec<Option<u32>> = found.sections.iter().map(|section| section.channel).collect();
    assert_eq!(sent, [Some(1)]);
    let found = analysis_of(&recording(&[&vec![0.0; 8_000], &vec![0.0; 8_000]]), SPLIT);
    assert!(found.silent && found.sections.is_empty(), "{found:?}");
}

#[test]
fn each_channel_has_its_speech_its_level_and_its_pieces() {
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    // 4.75 s and 3.2 s of speech with some silence around.
    let agent = channel(20.0, &[(1.0, &cancel), (14.0, &thanks)]);
    let customer = channel(20.0, &[(5.0, &thanks)]);
    let found = analysis_of(&recording(&[&agent, &customer]), SPLIT);
    let talk = found.talk.unwrap();
    let turns: Vec<u32> = talk.turns.iter().map(|turns| turns.count).collect();
    assert_eq!(turns, [2, 1], "{:?}", talk);
    let near = |found: u64, expected: u64| found.abs_diff(expected) < 500;
    assert!(near(talk.turns[0].speech_ms, 7_500) && near(talk.turns[1].speech_ms, 3_000), "{:?}", talk);
    assert!(near(talk.turns[0].longest_ms, 4_500), "{:?}", talk);
    // The customer begins in the agent's last words.
    assert!(near(talk.overlap_ms, 600), "{:?}", talk);
    assert!(matches!(talk.interruptions[..], [(1, begin)] if near(begin, 5_100)), "{:?}", talk);
    let longest = talk.longest_silence.unwrap();
    assert!(near(longest.begin_ms, 8_100) && near(longest.end_ms, 14_100), "{longest:?}");
    assert_eq!(found.speech_ms, talk.turns.iter().map(|turns| turns.speech_ms).sum::<u64>());
    let whole = |channel| Section { channel, parts: vec![TimeSpan { begin_ms: 0, end_ms: 20_000 }] };
    assert_eq!(found.sections, [whole(Some(0)), whole(Some(1))]);

    let expected = level_of(&cancel);
    let level = found.channels[0].level_dbfs.unwrap();
    assert!((level - expected).abs() < 2.0, "{level} dBFS of {expected}");
    let quieter = analysis_of(&recording(&[&times(&agent, 0.1), &customer]), SPLIT);
    let difference = level - quieter.channels[0].level_dbfs.unwrap();
    assert!((difference - 20.0).abs() < 1.0, "{difference} dB");
}

/// The level of the loud half of it.
fn level_of(samples: &[f64]) -> f64 {
    let mean = |frame: &[f64]| frame.iter().map(|sample| sample * sample).sum::<f64>() / frame.len() as f64;
    let energies: Vec<f64> = samples.chunks(128).map(mean).filter(|energy| *energy > 1e-5).collect();
    10.0 * (energies.iter().sum::<f64>() / energies.len() as f64).log10()
}

#[test]
fn samples_at_full_scale_are_counted() {
    let loud = times(&sentence("cancel.wav"), 20.0);
    let clipped: Vec<f64> = loud.iter().map(|sample| sample.clamp(-1.0, 32_767.0 / 32_768.0)).collect();
    let share = loud.iter().filter(|sample| **sample >= 0.9999 || **sample <= -1.0).count() as f64
        / loud.len() as f64;
    let found = analysis_of(&recording(&[&clipped, &times(&loud, 0.01)]), SPLIT);
    assert!(
        share > 0.05 && (found.channels[0].clipped - share).abs() < 0.001,
        "{share}: {:?}",
        found.channels
    );
    assert_eq!(found.channels[1].clipped, 0.0);
}

#[test]
fn a_piece_of_a_channel_is_that_channel_and_its_parts_follow_each_other() {
    let (agent, customer) = (channel(10.0, &[(1.0, &sentence("cancel.wav"))]), noise(80_000, -20.0, 3));
    let bytes = recording(&[&agent, &customer]);
    for (number, expected) in [(0, &agent), (1, &customer)] {
        let mut source = Source::new(file(&bytes)).unwrap();
        let content = Content::find(&mut source, None).unwrap();
        let mut decoder = Decoder::open(source, content, Signals::Only(number)).unwrap();
        let mut made = Vec::new();
        let mut send = |part: &[u8]| {
            made.extend_from_slice(part);
            Ok(())
        };
        let parts = [(1_000, 2_500), (4_000, 4_016), (8_000, 9_500)];
        let parts = parts.map(|(begin_ms, end_ms)| TimeSpan { begin_ms, end_ms });
        piece(&mut decoder, &parts, PieceFormat::Wav, &mut send).unwrap();
        let samples: Vec<f64> = made[44..]
            .chunks_exact(2)
            .map(|it| f64::from(i16::from_le_bytes([it[0], it[1]])) / 32_768.0)
            .collect();
        assert_eq!(samples.len(), 16 * 3_016);
        let mut at = 0;
        for part in parts {
            let there = &samples[at * 16..(at + part.length_ms() as usize) * 16];
            let original = &expected[part.begin_ms as usize * 8..part.end_ms as usize * 8];
            let energy =
                |samples: &[f64]| samples.iter().map(|it| it * it).sum::<f64>() / samples.len() as f64;
            let (found, expected) = (energy(there), energy(original));
            assert!(
                (found - expected).abs() <= 0.2 * expected + 1e-6,
                "channel {number} {part:?}: {found} of {expected}"
            );
            at += part.length_ms() as usize;
        }
    }
}

const SKIP: AnalysisPlan = AnalysisPlan { skip_silence: true, ..SPLIT };

#[test]
fn of_long_silence_little_is_sent_and_of_speech_all() {
    let (cancel, thanks) = (sentence("cancel.wav"), sentence("thanks.wav"));
    let agent = channel(60.0, &[(3.0, &cancel), (20.0, &thanks), (50.0, &cancel)]);
    let customer = channel(60.0, &[(9.0, &thanks), (30.0, &cancel)]);
    // An offset, which cheap sound cards add, is no sound.
    let offset = vec![0.02; agent.len()];
    let noisy = |samples: &[f64], seed| sum(&offset, &sum(samples, &noise(samples.len(), -52.0, seed)));
    let found = analysis_of(&recording(&[&noisy(&agent, 1), &noisy(&customer, 2)]), SKIP);
    let sent: u64 = found.sections.iter().map(Section::length).sum();
    let spoken = ((3 * cancel.len() + 2 * thanks.len()) * 1_000 / RATE) as u64;
    assert!(sent < spoken + spoken / 20, "{sent} ms of {spoken} ms of speech: {:?}", found.sections);
    assert!(sent > spoken - spoken / 10, "{sent} ms of {spoken} ms of speech: {:?}", found.sections);
    let [first, second] = &found.sections[..] else { panic!("{:?}", found.sections) };
    assert_eq!(
        (first.channel, first.parts.len(), second.channel, second.parts.len()),
        (Some(0), 3, Some(1), 2)
    );
    for (section, begins) in [(first, &[3_000, 20_000, 50_000][..]), (second, &[9_000, 30_000])] {
        for (part, begin) in section.parts.iter().zip(begins) {
            assert!((begin - 80..begin + 300).contains(&part.begin_ms), "{section:?}");
        }
    }
}

#[test]
fn hold_music_is_no_silence() {
    // Chords that fade in and out, at -26 dBFS and less.
    let music: Vec<f64> = (0..20 * RATE)
        .map(|at| {
            let time = at as f64 / RATE as f64;
            let tone = |hertz: f64| (time * hertz * std::f64::consts::TAU).sin();
            0.04 * (1.2 + (time * 2.0).sin()) * (tone(262.0) + tone(330.0) + tone(392.0)) / 3.0
        })
        .collect();
    let talk =
        channel(60.0, &[(1.0, &sentence("cancel.wav")), (20.0, &music), (52.0, &sentence("thanks.wav"))]);
    let found = analysis_of(&recording(&[&talk]), AnalysisPlan { split: false, ..SKIP });
    let is_sent = |at: u64| {
        found
            .sections
            .iter()
            .flat_map(|section| &section.parts)
            .any(|part| (part.begin_ms..part.end_ms).contains(&at))
    };
    assert!((20_100..39_900).all(is_sent), "{:?}", found.sections);
    assert!(!is_sent(10_000) && !is_sent(45_000), "{:?}", found.sections);
    assert_eq!(found.sections[0].channel, None);
}

#[test]
fn a_recording_of_one_channel_is_not_split_and_mixed_channels_are_one() {
    let talk = channel(6.0, &[(0.5, &sentence("cancel.wav"))]);
    let found = analysis_of(&recording(&[&talk]), SPLIT);
    assert_eq!((found.channels.len(), found.sections[0].channel), (1, None));
    let mixed =
        analysis_of(&recording(&[&talk, &vec![0.0; talk.len()]]), AnalysisPlan { split: false, ..SPLIT });
    assert_eq!((mixed.channels.len(), mixed.sections.len(), mixed.sections[0].channel), (1, 1, None));
    assert!(mixed.speech_ms > 3_500, "{}", mixed.speech_ms);
}

#[test]
fn a_part_with_one_channel_is_heard_on_all() {
    // The file has one channel, and the decoder is asked for two.
    let bytes = read("cbr.mp3");
    let mut source = Source::new(file(&bytes)).unwrap();
    let content = Content::find(&mut source, None).unwrap();
    let mut decoder = Decoder::open(source, content, Signals::Each(2)).unwrap();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    while let Some(block) = decoder.next(i64::MAX).unwrap() {
        first.extend_from_slice(block.signal(0));
        second.extend_from_slice(block.signal(1));
    }
    assert!(!first.is_empty() && first == second);
}

#[test]
fn samples_of_16_bits_are_decoded_exactly_and_an_incomplete_frame_is_left_out() {
    let all = i16::MIN..=i16::MAX;
    let frames = all.clone().flat_map(|sample| [sample.to_le_bytes(), (!sample).to_le_bytes()].concat());
    let data: Vec<u8> = frames.chain([1, 2, 3]).collect();
    let mut source = Source::new(file(&wav(2, RATE as u32, 16, data.len() as u32, &data))).unwrap();
    let content = Content::find(&mut source, None).unwrap();
    let mut decoder = Decoder::open(source, content, Signals::Each(2)).unwrap();
    let mut heard = [Vec::new(), Vec::new()];
    while let Some(block) = decoder.next(Time::MAX).unwrap() {
        for (signal, heard) in heard.iter_mut().enumerate() {
            heard.extend(block.signal(signal).iter().map(|sample| sample * 32_768.0));
        }
    }
    assert_eq!(heard[0], all.clone().map(f32::from).collect::<Vec<_>>());
    assert_eq!(heard[1], all.map(|sample| f32::from(!sample)).collect::<Vec<_>>());
}
