//! See [`crate::fuzzing`]. Of symphonia only the readers of bare frames are called: its demuxers and decoders are known to panic on crafted
//! files, and run in the sandboxed worker only.

use std::fs::File;
use std::io::Write;

use super::child::has_names;
use super::last_frame::is_incomplete;
use super::matroska::without_size;
use super::probe::Content;
use super::source::Source;
use super::stated_end::stated_end;
use super::wire::Reply;
use super::{chunks, edits, layer2, unknown_codec};

/// Formats that the parsers of this room are asked about.
const FORMATS: [&str; 19] = [
    "3gp", "aiff", "amr", "au", "avi", "caf", "flv", "gsm", "m4a", "mkv", "mov", "mp4", "mpeg", "ogg", "ts",
    "w64", "webm", "wma", "wv",
];

/// A file, for the parsers of Hark's own: first bytes, tags, WAV, bare frames, the ends and the codecs that containers name.
///
/// # Panics
/// Where a parser does, or finds audio outside of the file.
pub fn own_audio(bytes: &[u8]) {
    let Ok(mut source) = file_of(bytes).and_then(Source::new) else { return };
    for hint in [None, Some("mp3"), Some("g729")] {
        if let Ok(content) = Content::find(&mut source, hint) {
            match &content {
                Content::Wav(wav) => assert!(wav.audio.end <= source.length(), "{:?}", wav.audio),
                Content::Container(_, place) => assert!(place.start <= place.end, "{place:?}"),
                Content::Frames(_, first) => assert!(*first < source.length(), "{first}"),
                Content::Layer2(_) | Content::Unread(_) | Content::Decoded(_) => {}
            }
            if !matches!(content, Content::Container(..) | Content::Frames(..))
                && let Ok(probe) = content.probe(&mut source)
            {
                assert!(has_names(&probe), "the daemon would not take {probe:?}");
            }
        }
    }
    for format in FORMATS {
        // Only a file that cannot be read is an error.
        assert!(stated_end(&source, 0, format).is_ok() && unknown_codec::name(&source, 0, format).is_ok());
        let file = 0..source.length();
        assert!(
            chunks::mended(&source, file, format).is_ok() && is_incomplete(&mut source, 0, format).is_ok()
        );
    }
    assert!(edits::stated(&source, 0, 1).is_ok());
    assert!(without_size(&source, 0).is_ok());
    assert!(layer2::is_at(&mut source, 0).is_ok());
}

/// A packet from a worker that a crafted recording may control.
///
/// # Panics
/// Where reading it does, or what was read cannot be said again.
pub fn worker_message(packet: &[u8]) {
    let Ok(reply) = Reply::of_packet(packet) else { return };
    match reply.to_packet() {
        Ok(packet) => assert!(Reply::of_packet(&packet).is_ok(), "{reply:?}"),
        Err(error) => panic!("{reply:?}: {error}"),
    }
    if let Reply::Probed(Ok(probe)) = &reply {
        // What it names goes into events and logs.
        has_names(probe);
    }
}

fn file_of(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    Ok(file)
}
