//! Names codecs that symphonia does not decode, by what the container says of its sound track.

use super::source::Source;

/// How many bytes are searched: tracks are described at the beginning of a Matroska file, and of the index of ISO media.
const SEARCHED: usize = 1 << 20;

/// The name of the codec of a sound track; `None`: there is no such track.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn name(source: &Source, start: u64, format: &str) -> std::io::Result<Option<String>> {
    match format {
        "mkv" | "webm" => Ok(matroska(&source.copy(start, SEARCHED)?)),
        "m4a" | "mp4" | "mov" | "3gp" => {
            let tail = source.length().saturating_sub(SEARCHED as u64);
            let found = iso(&source.copy(start, SEARCHED)?);
            Ok(found.or(iso(&source.copy(tail, SEARCHED)?)))
        }
        "aiff" => Ok(aifc(&source.copy(start, SEARCHED)?)),
        _ => Ok(None),
    }
}

/// The compression that the COMM chunk of AIFC names.
fn aifc(bytes: &[u8]) -> Option<String> {
    let common = find(bytes, b"COMM")? + 8;
    bytes.get(common + 18..common + 22).map(coded)
}

/// The sample description of the first track whose handler is `soun`.
fn iso(bytes: &[u8]) -> Option<String> {
    let mut rest = &bytes[find(bytes, b"mhlrsoun").or(find(bytes, b"\0\0\0\0soun"))?..];
    rest = &rest[find(rest, b"stsd")?..];
    rest.get(16..20).map(coded)
}

/// A code of four letters, as QuickTime has them.
fn coded(code: &[u8]) -> String {
    match code {
        b"samr" | b"sawb" | b"sawp" => "amr".into(),
        b"ima4" | [b'm', b's', 0, 2 | 0x11] => "adpcm".into(),
        b"agsm" => "gsm".into(),
        b"twos" | b"sowt" | b"in24" | b"in32" | b"fl32" | b"fl64" | b"lpcm" | b"raw " => "pcm".into(),
        _ => plain(code),
    }
}

/// The `CodecID` of the first track whose codec is one of sound.
fn matroska(bytes: &[u8]) -> Option<String> {
    let at = (0..bytes.len().checked_sub(4)?)
        .find(|&at| bytes[at] == 0x86 && bytes[at + 1] & 0x80 != 0 && bytes[at + 2..].starts_with(b"A_"))?;
    let length = usize::from(bytes[at + 1] & 0x7f);
    let name = bytes.get(at + 2..at + 2 + length)?;
    if name.starts_with(b"A_MS/ACM") {
        // A `CodecPrivate` of the form of a WAV file's fmt chunk.
        let private = &bytes[at..];
        let fields = &private[find(private, &[0x63, 0xa2])? + 3..];
        if let Some([low, 1]) = fields.get(..2)
            && matches!(low, 0x60..=0x63)
        {
            return Some("wma".into());
        }
    }
    Some(plain(&name[2..]))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A code as a name: lower case letters and digits.
fn plain(code: &[u8]) -> String {
    let letter =
        |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() as char } else { '_' };
    code.iter().take(16).map(letter).collect()
}
