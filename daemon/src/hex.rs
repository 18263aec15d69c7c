//! Hashes as text.

use std::fmt::Write as _;

/// Lower-case hex. The digests of `sha2` do not format themselves.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
