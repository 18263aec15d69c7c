//! JSON of the service. It is paid for, so what is wrong with its form only is mended; where nothing is, nothing is touched.

use serde::de::DeserializeOwned;

/// Reads an answer, an event's data or a result. A byte order mark is skipped.
///
/// # Errors
/// As `serde_json`'s, whose words may quote the text.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read::<Value>(b"\xef\xbb\xbf{\"a\":1}").unwrap(), json!({"a": 1}));
        assert!(read::<Value>(b"\xef\xbb\xbf").is_err());
    }
}
