//! What a file is by its first bytes, whatever its name.

/// Enough for every signature below, and for the document type of a Matroska file.
pub(super) const HEAD: usize = 256;

/// Within this many bytes an ASF file (wma, wmv) describes its streams.
pub(super) const ASF_HEADER: usize = 16 << 10;

pub(super) enum Kind {
    Wav,
    Container(&'static str),
    FirstBytesOnly(&'static str),
    NotAudio(&'static str),
    Unknown,
}

impl Kind {
    /// What begins with these bytes.
    pub(super) fn of(head: &[u8]) -> Kind {
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
        // Packets of a transport stream, each of 188 bytes.
        if at(0, b"G") && at(188, b"G") {
            return Kind::FirstBytesOnly("ts");
        }
        let signatures: [(&[u8], Kind); 20] = [
            (b"fLaC", Kind::Container("flac")),
            (b"OggS", Kind::Container("ogg")),
            (b"caff", Kind::Container("caf")),
            (b"#!AMR", Kind::FirstBytesOnly("amr")),
            (&[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11], Kind::FirstBytesOnly("wma")),
            (b"FLV\x01", Kind::FirstBytesOnly("flv")),
            (b".snd", Kind::FirstBytesOnly("au")),
            (b"MAC ", Kind::FirstBytesOnly("ape")),
            (b"wvpk", Kind::FirstBytesOnly("wv")),
            (b"riff\x2e\x91\xcf\x11", Kind::FirstBytesOnly("w64")),
            (b"ADIF", Kind::FirstBytesOnly("aac")),
            // A program stream, with sound and mostly pictures.
            (&[0, 0, 1, 0xba], Kind::FirstBytesOnly("mpeg")),
            (b"RIFX", Kind::NotAudio("it is a WAV file in the other byte order (RIFX)")),
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

/// Whether the header of an ASF file describes a stream of moving pictures.
pub(super) fn has_pictures(header: &[u8]) -> bool {
    const VIDEO: [u8; 16] =
        [0xc0, 0xef, 0x19, 0xbc, 0x4d, 0x5b, 0xcf, 0x11, 0xa8, 0xfd, 0, 0x80, 0x5f, 0x5c, 0x44, 0x2b];
    header.windows(VIDEO.len()).any(|id| id == VIDEO)
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

/// What a file that is nothing known looks like, for the person who provided it; `None`: like any bytes.
pub(super) fn looks_like(head: &[u8]) -> Option<&'static str> {
    let text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte >= 0x80;
    if head.iter().all(|&byte| byte == 0) {
        Some("it begins with zeros only")
    } else if head.iter().all(text) && std::str::from_utf8(&head[..head.len().min(64)]).is_ok() {
        Some("it looks like text")
    } else {
        None
    }
}
