//! Long recordings: found out where to cut, and made into pieces, by real children that are killed, stopped and left.

use hark_sdk::event::TimeSpan;
use harkd::audio::{AnalysisPlan, Section};
use harkd::config::PieceFormat;

use super::*;

const RATE: usize = 8_000;

/// Bursts of a second with pauses of half a second between them, so many seconds in all: 8 kHz, 16 bits.
fn bursts(seconds: usize) -> Vec<u8> {
    let mut wav = wav((seconds * RATE * 2) as u32);
    for (at, sample) in wav[44..].chunks_exact_mut(2).enumerate() {
        if at % (RATE * 3 / 2) < RATE {
            // Many harmonics of 150 Hz, as a voice has them.
            let phase = (at % RATE) as i32 * 150 % RATE as i32;
            sample.copy_from_slice(&((phase * 2 - RATE as i32) as i16).to_le_bytes());
        }
    }
    wav
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Whether a place lies in a pause of [`bursts`].
fn is_pause(milliseconds: u64) -> bool {
    milliseconds % 1_500 >= 1_000
}

/// Pieces of at most thirty seconds.
const THIRTY: AnalysisPlan = AnalysisPlan { longest_ms: Some(30_000), split: false, skip_silence: false };

fn section(begin_ms: u64, end_ms: u64) -> Section {
    Section { channel: None, parts: vec![TimeSpan { begin_ms, end_ms }] }
}

#[tokio::test]
async fn a_recording_is_cut_in_its_pauses_and_its_pieces_are_the_recording() {
    let _alone = alone().await;
    let metrics = Metrics::new();
    let workers = Workers::start(harkd(), 1, metrics.clone());
    let recording = file(&bursts(601));
    let mut told = Vec::new();
    let found = workers.analyze(&recording, Some("wav"), THIRTY, |section| told.push(section)).await.unwrap();
    assert_eq!((found.probe.duration_ms, found.silent, &found.sections), (Some(601_000), false, &told));
    let mut end = 0;
    for section in &found.sections {
        assert_eq!(section.begin_ms(), end);
        end = section.end_ms();
        assert!(section.length() <= 30_000 && (is_pause(end) || end == 601_000), "{section:?}");
    }
    assert_eq!(end, 601_000);
    let begun = Instant::now();
    for section in &found.sections {
        let flac = workers.piece(&recording, Some("wav"), section.clone(), PieceFormat::Flac).await.unwrap();
        let probe = workers.probe(&file(&flac), None).await.unwrap();
        assert_eq!((probe.format.as_str(), probe.duration_ms), ("flac", Some(section.length())));
    }
    // One child for probes, one for the rest, and one pass over the recording.
    assert_eq!(metrics.audio_worker_starts.get(), 2);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_piece_is_the_same_in_order_again_and_alone() {
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let recording = file(&bursts(60));
    let piece =
        |begin_ms, end_ms| workers.piece(&recording, None, section(begin_ms, end_ms), PieceFormat::Wav);
    let (first, second) = (piece(0, 20_000).await.unwrap(), piece(20_000, 50_000).await.unwrap());
    assert_eq!((first.len(), second.len()), (44 + 640_000, 44 + 960_000));
    assert!(piece(20_000, 50_000).await.unwrap() == second, "again");
    assert!(piece(0, 20_000).await.unwrap() == first, "back");
    let halves = [piece(20_000, 35_000).await.unwrap(), piece(35_000, 50_000).await.unwrap()];
    let apart = halves.iter().flat_map(|half| &half[44..]).zip(&second[44..]).filter(|(a, b)| a != b).count();
    assert!(apart < 4_000, "only where the resampler begins anew: {apart} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_that_are_killed_neither_lose_nor_repeat_a_span() {
    let _alone = alone().await;
    let recording = file(&bursts(300));
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let whole = workers.analyze(&recording, None, THIRTY, |_| ()).await.unwrap();
    for count in [1, 5, 10] {
        let mut told = Vec::new();
        let killing = |section| {
            told.push(section);
            if told.len() == count {
                kill_process(child(), Signal::KILL).unwrap();
            }
        };
        let found = workers.analyze(&recording, None, THIRTY, killing).await.unwrap();
        assert_eq!((&told, &found), (&whole.sections, &whole));
    }
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_child_and_probes_never_wait_for_long_recordings() {
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let recording = file(&bursts(7_200));
    let (other, left) = (workers.clone(), recording.try_clone().unwrap());
    let analyzing = tokio::spawn(async move { other.analyze(&left, None, THIRTY, |_| ()).await });
    until(|| !children().is_empty()).await;
    workers.probe(&fixture("call.flac"), None).await.unwrap();
    assert!(!analyzing.is_finished(), "the probe did not wait");
    analyzing.abort();
    until(|| children().len() == 1).await;
    // The pool goes on.
    let late = section(3_600_000, 3_601_000);
    assert!(!workers.piece(&recording, None, late, PieceFormat::Flac).await.unwrap().is_empty());
}

#[tokio::test]
async fn memory_does_not_grow_with_the_recording() {
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let plan = AnalysisPlan { longest_ms: Some(180_000), ..THIRTY };
    let mut most = Vec::new();
    for seconds in [200, 800] {
        let recording = file(&bursts(seconds));
        let found = workers.analyze(&recording, None, plan, |_| ()).await.unwrap();
        let before = resident();
        for section in found.sections {
            workers.piece(&recording, None, section, PieceFormat::Flac).await.unwrap();
        }
        assert!(resident() < before + (16 << 20), "a few pieces, and no recording");
        most.push(most_resident(child()));
    }
    assert!(most[1] < most[0] + 4_096, "{most:?} KiB");
}

/// The most memory that a process has had, in KiB.
fn most_resident(process: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn what_cannot_be_decoded_has_its_own_error() {
    let _alone = alone().await;
    let workers = Workers::start(harkd(), 1, Metrics::new());
    let error = workers.analyze(&file(b"#!AMR\n\x3c\0"), None, THIRTY, |_| ()).await.unwrap_err();
    assert_eq!((error.code(), error.blame()), ("UndecodableAudio", Blame::Audio));
    let error = workers.piece(&file(b"text"), None, section(0, 1_000), PieceFormat::Wav).await.unwrap_err();
    assert_eq!(error.code(), "NotAudio");
}
