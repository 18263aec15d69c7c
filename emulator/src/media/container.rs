//! Recognizes containers by their first bytes. Names and mime types can be wrong; the service reads the bytes as well.

use crate::service::Engine;

/// How many bytes of a file [`Container::recognize`] needs.
pub(super) const HEAD_BYTES: u64 = 512;

/// The containers that the service's pages list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Aac,
    Aiff,
    Amr,
    Avi,
    Flac,
    Flv,
    Mkv,
    Mov,
    Mp3,
    Mp4,
    Mpeg,
    Ogg,
    Opus,
    Wav,
    Webm,
    Wma,
}

impl Container {
    /// Names the container of a file that begins with these bytes.
    pub fn recognize(head: &[u8]) -> Option<Container> {
        let at = |offset: usize, magic: &[u8]| {
            head.get(offset..offset + magic.len()).is_some_and(|found| found == magic)
        };
        let holds = |magic: &[u8]| head.windows(magic.len()).any(|window| window == magic);
        let container = if at(0, b"RIFF") && at(8, b"WAVE") {
            Container::Wav
        } else if at(0, b"RIFF") && at(8, b"AVI ") {
            Container::Avi
        } else if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) {
            Container::Aiff
        } else if at(0, b"fLaC") {
            Container::Flac
        } else if at(0, b"OggS") {
            if holds(b"OpusHead") { Container::Opus } else { Container::Ogg }
        } else if at(4, b"ftyp") {
            if at(8, b"qt  ") { Container::Mov } else { Container::Mp4 }
        } else if at(0, b"\x1a\x45\xdf\xa3") {
            if holds(b"webm") { Container::Webm } else { Container::Mkv }
        } else if at(0, b"#!AMR") {
            Container::Amr
        } else if at(0, b"FLV") {
            Container::Flv
        } else if at(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11") {
            Container::Wma
        } else if at(0, b"\0\0\x01\xba") || at(0, b"\0\0\x01\xb3") {
            Container::Mpeg
        } else if at(0, b"ID3") {
            Container::Mp3
        } else {
            return Container::of_frame_header(head);
        };
        Some(container)
    }

    /// Whether the engine accepts it. An MP4 without pictures is what the lists call m4a, so both engines accept it.
    pub fn is_taken_by(self, engine: Engine, has_video: bool) -> bool {
        match engine {
            Engine::Flash => !(self == Container::Mov || self == Container::Mp4 && has_video),
            Engine::Filetrans => self != Container::Aiff,
        }
    }

    /// The name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Container::Aac => "aac",
            Container::Aiff => "aiff",
            Container::Amr => "amr",
            Container::Avi => "avi",
            Container::Flac => "flac",
            Container::Flv => "flv",
            Container::Mkv => "mkv",
            Container::Mov => "mov",
            Container::Mp3 => "mp3",
            Container::Mp4 => "mp4",
            Container::Mpeg => "mpeg",
            Container::Ogg => "ogg",
            Container::Opus => "opus",
            Container::Wav => "wav",
            Container::Webm => "webm",
            Container::Wma => "wma",
        }
    }

    /// MPEG audio and ADTS have no header but each frame's: 11 or 12 bits set, then the layer, 0 for ADTS.
    fn of_frame_header(head: &[u8]) -> Option<Container> {
        match head {
            [0xff, second, ..] if second & 0xf6 == 0xf0 => Some(Container::Aac),
            [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 != 0 => Some(Container::Mp3),
            _ => None,
        }
    }
}
