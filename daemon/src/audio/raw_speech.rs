//! Speech of telephone exchanges in files without any header, as Asterisk writes them.

use super::source::Source;

/// Bytes and begin of each frame of GSM 06.10 in a file, which holds 20 ms.
const GSM_FRAME: usize = 33;
const GSM_MARK: u8 = 0xd;

/// So many frames must begin with the mark: 160 ms.
const ENOUGH: usize = 8;

/// How much of a file is looked at.
const LOOKED_AT: usize = 4 << 10;

/// Whether frames of GSM 06.10 follow each other from here on.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn is_gsm(source: &mut Source, start: u64) -> std::io::Result<bool> {
    let mut firsts = source.peek(start, LOOKED_AT)?.iter().step_by(GSM_FRAME);
    Ok(firsts.len() >= ENOUGH && firsts.all(|first| first >> 4 == GSM_MARK))
}

/// The format that a file's extension names where nothing in its content can: `g729`, whose files are bare frames, and `g723`, whose files
/// have several forms that cannot be told apart.
pub(super) fn named(hint: Option<&str>) -> Option<&'static str> {
    ["g729", "g723"].into_iter().find(|name| hint.is_some_and(|hint| hint.eq_ignore_ascii_case(name)))
}
