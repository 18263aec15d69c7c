//! Recordings that ffmpeg decodes for the workers, in processes that end with them.

use hark_sdk::event::TimeSpan;
use harkd::audio::{AnalysisPlan, Section};
use harkd::config::PieceFormat;

use super::*;
use crate::support::ffmpeg::{amr, has_ffmpeg, remuxed};

/// Two channels at 8 kHz, one with a tone of 200 Hz for three seconds of each four, the other one with a tone of 300 Hz in the second half.
fn samples(seconds: usize) -> Vec<[i16; 2]> {
    let tone = |at: usize, hertz: usize| {
        let phase = at * hertz % 8_000;
        // A triangle: exact in integers.
        (phase.abs_diff(4_000) as i16 - 2_000) * 8
    };
    let sample = |at: usize| {
        let left = if at % 32_000 < 24_000 { tone(at, 200) } else { 0 };
        let right = if at >= seconds * 4_000 { tone(at, 300) } else { 0 };
        [left, right]
    };
    (0..seconds * 8_000).map(sample).collect()
}

/// The samples in Sun's format, which only ffmpeg reads here, and as WAV.
fn au_and_wav(seconds: usize) -> (File, File) {
    let samples = samples(seconds).concat();
    let bytes = samples.len() as u32 * 2;
    let mut au = [&b".snd"[..], &[24, bytes, 3, 8_000, 2].map(u32::to_be_bytes).concat()].concat();
    au.extend(samples.iter().flat_map(|sample| sample.to_be_bytes()));
    let mut wav = wav(bytes);
    wav[22..24].copy_from_slice(&2_u16.to_le_bytes());
    wav[28..32].copy_from_slice(&32_000_u32.to_le_bytes());
    wav[32..34].copy_from_slice(&4_u16.to_le_bytes());
    for (two, sample) in wav[44..].chunks_exact_mut(2).zip(&samples) {
        two.copy_from_slice(&sample.to_le_bytes());
    }
    (file(&au), file(&wav))
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn section(channel: Option<u32>, begin_ms: u64, end_ms: u64) -> Section {
    Section { channel, parts: vec![TimeSpan { begin_ms, end_ms }] }
}

#[tokio::test]
async fn what_ffmpeg_decodes_is_cut_like_what_symphonia_decodes() {
    if !has_ffmpeg("what_ffmpeg_decodes_is_cut") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let (au, wav) = au_and_wav(24);
    let (of_au, of_wav) = (workers.probe(&au, None).await.unwrap(), workers.probe(&wav, None).await.unwrap());
    assert_eq!(
        (&*of_au.format, of_au.duration_ms, of_au.channels, of_au.sample_rate),
        ("au", Some(24_000), of_wav.channels, of_wav.sample_rate)
    );
    for split in [false, true] {
        let plan = AnalysisPlan { longest_ms: Some(10_000), split, skip_silence: false };
        let of_au = workers.analyze(&au, None, plan, |_| ()).await.unwrap();
        let of_wav = workers.analyze(&wav, None, plan, |_| ()).await.unwrap();
        assert_eq!((&of_au.sections, &of_au.channels), (&of_wav.sections, &of_wav.channels));
        assert_eq!(of_au.channels.len(), if split { 2 } else { 1 });
    }
    assert_eq!(named("ffmpeg").len(), 0, "an analysis ends with its ffmpeg");
    // In order, and then back.
    for (begin, end) in [(2_000, 4_000), (4_000, 5_500), (20_000, 21_000), (1_000, 2_000)] {
        for channel in [None, Some(1)] {
            let section = section(channel, begin, end);
            let of_au = workers.piece(&au, None, section.clone(), PieceFormat::Wav).await.unwrap();
            let of_wav = workers.piece(&wav, None, section, PieceFormat::Wav).await.unwrap();
            assert!(of_au == of_wav, "{channel:?} {begin}..{end}");
        }
    }
}

/// As phones write it, and of more than ffmpeg keeps of a pipe.
#[tokio::test]
async fn an_index_behind_the_audio_is_read_first() {
    if !has_ffmpeg("an_index_behind_the_audio") {
        return;
    }
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let phone = file(&remuxed(&amr(120), "amr", "-f 3gp"));
    let probe = workers.probe(&phone, None).await.unwrap();
    assert_eq!((&*probe.format, probe.duration_ms, probe.channels), ("3gp", Some(120_000), Some(1)));
    let last = section(None, 118_000, 119_000);
    let piece = workers.piece(&phone, None, last, PieceFormat::Wav).await.unwrap();
    assert_eq!(piece.len(), 44 + 32_000);
}

#[tokio::test]
async fn ffmpeg_ends_with_its_worker() {
    if !has_ffmpeg("ffmpeg_ends_with_its_worker") {
        return;
    }
    let _alone = alone().await;
    let (au, _) = au_and_wav(600);
    // The threads and descriptors that stay belong to the first count.
    Workers::start(harkd(), 1, Metrics::new()).probe(&au, None).await.unwrap();
    until(|| children().is_empty()).await;
    let before = descriptors();
    {
        let workers = Workers::start(harkd(), 1, Metrics::new());
        let first = section(None, 0, 1_000);
        let piece = workers.piece(&au, None, first.clone(), PieceFormat::Wav).await.unwrap();
        assert_eq!(named("ffmpeg").len(), 1, "it waits for the next piece");
        kill_process(child(), Signal::KILL).unwrap();
        assert_eq!(workers.piece(&au, None, first, PieceFormat::Wav).await.unwrap(), piece, "another worker");
        assert_eq!(named("ffmpeg").len(), 1);
        kill_process(named("ffmpeg")[0], Signal::KILL).unwrap();
        let later = section(None, 400_000, 401_000);
        let cut_off = workers.piece(&au, None, later.clone(), PieceFormat::Wav).await.unwrap_err();
        assert!(
            cut_off.blame() == Blame::Hark && cut_off.to_string().contains("ffmpeg was killed"),
            "{cut_off}"
        );
        assert!(workers.piece(&au, None, later, PieceFormat::Wav).await.is_ok(), "the next try");
    }
    until(|| named("ffmpeg").is_empty() && children().is_empty() && descriptors() == before).await;
}
