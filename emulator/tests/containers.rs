//! Real files of 1.5 s in the containers that the service lists.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion, also in its helpers")]

use std::path::Path;
use std::time::Duration;

use dashscope_emulator::media::Media;
use dashscope_emulator::service::Engine;

fn probe(name: &str) -> Media {
    Media::probe(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio").join(name)).unwrap()
}

#[test]
fn lossless_files_are_measured_to_the_sample() {
    for (name, channels, sample_rate) in
        [("sine.wav", 1, 8_000), ("sine.flac", 2, 16_000), ("sine.aiff", 1, 8_000)]
    {
        let media = probe(name);
        assert_eq!(media.duration, Duration::from_millis(1_500), "{name}");
        assert_eq!((media.channels, media.sample_rate), (channels, sample_rate), "{name}");
    }
}

#[test]
fn compressed_files_are_measured_to_a_frame_or_two() {
    for name in [
        "sine.mp3",
        "sine.ogg",
        "sine.opus",
        "sine.webm",
        "sine.m4a",
        "sine.aac",
        "sine.mkv",
        "sine.mov",
        "sine.mp4",
    ] {
        let milliseconds = probe(name).duration.as_millis();
        assert!((1_500..1_720).contains(&milliseconds), "{name}: {milliseconds} ms");
    }
}

#[test]
fn what_cannot_be_parsed_gets_a_length_by_its_size() {
    assert!(probe("sine.wma").duration > Duration::ZERO);
}

#[test]
fn each_engine_takes_its_own_list() {
    for (name, flash, filetrans) in [
        ("sine.wav", true, true),
        ("sine.m4a", true, true),
        ("sine.mov", false, true),
        ("sine.mp4", false, true),
        ("sine.aiff", true, false),
    ] {
        let media = probe(name);
        assert_eq!(media.container.is_taken_by(Engine::Flash, media.has_video), flash, "{name}");
        assert_eq!(media.container.is_taken_by(Engine::Filetrans, media.has_video), filetrans, "{name}");
    }
}
