//! Determines the format of a file by its first bytes, never by its name.

use std::fs::File;

use super::frames;
use super::source::Source;
use super::{Probe, ProbeError, containers, wav};

/// Probes a regular file that is open for reading. Memory is bounded for any file; time is not: parsers loop and crash on crafted files, so
/// outside tests this runs in the audio worker only.
///
/// `hint_extension` (of the file's name, without the dot) only decides how far to search for frames in files whose format has no signature
/// (`mp3`, `aac`).
///
/// # Errors
/// See [`ProbeError`]; never [`ProbeError::ParserFailed`] or [`ProbeError::NoWorker`].
pub fn probe(file: File, hint_extension: Option<&str>) -> Result<Probe, ProbeError> {
    let mut source = Source::new(file)?;
    if source.length() == 0 {
        return Err(ProbeError::Empty);
    }
    let bytes = source.length();
    let start = after_id3(&mut source)?;
    let head = source.peek(start, HEAD)?.to_vec();
    let found = match Kind::of(&head) {
        Kind::Wav => wav::probe(&mut source, start)?,
        Kind::Container(format) => containers::probe(&mut source, start, format)?,
        Kind::FirstBytesOnly(format) => Probe { format: format.into(), ..Probe::default() },
        Kind::NotAudio(what) => return Err(ProbeError::NotAudio(what.into())),
        Kind::Unknown => bare_frames(&mut source, start, hint_extension)?,
    };
    Ok(Probe { bytes, ..found })
}

/// Enough for every signature below, and for the document type of a Matroska file.
const HEAD: usize = 256;

/// How many bytes are searched for frames if the file's name does not suggest any.
const SEARCH: u64 = 64 << 10;
/// How many bytes are searched if the name does: some recorders write data of their own before the frames.
const SEARCH_WHEN_NAMED: u64 = 1 << 20;

enum Kind {
    Wav,
    Container(&'static str),
    FirstBytesOnly(&'static str),
    NotAudio(&'static str),
    Unknown,
}

impl Kind {
    fn of(head: &[u8]) -> Kind {
        let at = |offset: usize, text: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(text));
        if at(8, b"WAVE") && (at(0, b"RIFF") || at(0, b"RF64") || at(0, b"BW64")) {
            return Kind::Wav;
        }
        if at(4, b"ftyp") {
            return Kind::Container(brand(head.get(8..12).unwrap_or_default()));
        }
        // Old QuickTime files have no `ftyp` and begin with any of these atoms.
        if [b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"].iter().any(|&atom| at(4, atom)) {
            return Kind::Container("mov");
        }
        if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) {
            return Kind::Container("aiff");
        }
        if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
            let webm = head.windows(4).any(|word| word == b"webm");
            return Kind::Container(if webm { "webm" } else { "mkv" });
        }
        // Speex, from old telephony systems; symphonia does not support it.
        if at(0, b"OggS") && at(28, b"Speex   ") {
            return Kind::FirstBytesOnly("ogg");
        }
        if at(0, b"RIFF") && at(8, b"AVI ") {
            return Kind::FirstBytesOnly("avi");
        }
        let signatures: [(&[u8], Kind); 18] = [
            (b"fLaC", Kind::Container("flac")),
            (b"OggS", Kind::Container("ogg")),
            (b"caff", Kind::Container("caf")),
            (b"#!AMR", Kind::FirstBytesOnly("amr")),
            (&[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11], Kind::FirstBytesOnly("wma")),
            (b"FLV\x01", Kind::FirstBytesOnly("flv")),
            (b".snd", Kind::FirstBytesOnly("au")),
            (b"MAC ", Kind::FirstBytesOnly("ape")),
            (b"wvpk", Kind::FirstBytesOnly("wv")),
            (b"ADIF", Kind::FirstBytesOnly("aac")),
            // A program stream, with sound and mostly pictures.
            (&[0, 0, 1, 0xba], Kind::FirstBytesOnly("mpeg")),
            (b"MThd", Kind::NotAudio("it is MIDI, which holds notes and no sound")),
            (b"PK\x03\x04", Kind::NotAudio("it is a ZIP archive or an office document")),
            (b"%PDF", Kind::NotAudio("it is a PDF document")),
            (&[0x1f, 0x8b], Kind::NotAudio("it is a gzip archive; unpack it first")),
            (b"\x7fELF", Kind::NotAudio("it is a program")),
            (&[0x89, b'P', b'N', b'G'], Kind::NotAudio("it is a picture")),
            (&[0xff, 0xd8, 0xff], Kind::NotAudio("it is a picture")),
        ];
        signatures.into_iter().find(|(text, _)| at(0, text)).map_or(Kind::Unknown, |(_, kind)| kind)
    }
}

/// The major brand of an ISO media file.
fn brand(brand: &[u8]) -> &'static str {
    match brand {
        b"M4A " | b"M4B " | b"M4P " => "m4a",
        b"qt  " => "mov",
        [b'3', b'g', ..] => "3gp",
        _ => "mp4",
    }
}

fn bare_frames(source: &mut Source, start: u64, hint: Option<&str>) -> Result<Probe, ProbeError> {
    let named = |extension: &str| hint.is_some_and(|hint| hint.eq_ignore_ascii_case(extension));
    let search = if named("mp3") || named("aac") { SEARCH_WHEN_NAMED } else { SEARCH };
    if let Some((stream, first)) = frames::find(source, start, search)? {
        return frames::probe(source, stream, first);
    }
    if start >= source.length() {
        return Err(ProbeError::Truncated("there is a title tag and nothing after it".into()));
    }
    Err(ProbeError::NotAudio(looks_like(source.peek(start, 4096)?).into()))
}

fn looks_like(head: &[u8]) -> &'static str {
    let text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte >= 0x80;
    if head.iter().all(|&byte| byte == 0) {
        "it begins with zeros only"
    } else if head.iter().all(text) && std::str::from_utf8(&head[..head.len().min(64)]).is_ok() {
        "it looks like text"
    } else {
        "nothing in its first bytes is the beginning of an audio format"
    }
}

/// The offset of the content after any ID3v2 tags; some programs put tags even before FLAC and WAV.
fn after_id3(source: &mut Source) -> Result<u64, ProbeError> {
    let mut start = 0;
    // Some taggers add a second tag; a file with more than four was crafted.
    for _ in 0..4 {
        let &[b'I', b'D', b'3', major, _, flags, a, b, c, d] = source.peek(start, 10)? else { break };
        let digits = [a, b, c, d];
        if major == 0xff || digits.iter().any(|digit| *digit >= 0x80) {
            break;
        }
        let size = digits.iter().fold(0, |size, digit| size << 7 | u64::from(*digit));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        start += 10 + size + footer;
    }
    Ok(start)
}
