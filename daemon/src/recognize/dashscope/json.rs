//! JSON of the service. It is paid for, so what is wrong with its form only is mended; where nothing is, nothing is touched.

use hark_sdk::plain::Plain;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads an answer or a result. A byte order mark is skipped; bytes that are no UTF-8 and halves of a surrogate pair become U+FFFD.
///
/// # Errors
/// As `serde_json`'s, whose words may quote the text.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    read_or_mend(text, |text| mended(text, None))
}

/// As [`value`], for an event of a stream, whose texts may be cut in the middle of a character: then it is in the later one. `half`: the
/// escape in which a text ended, until one begins with the other half.
///
/// # Errors
/// Those of [`value`].
pub(crate) fn read_piece(text: &[u8], half: &mut String) -> serde_json::Result<Value> {
    read_or_mend(text, |text| mended(text, Some(half))).map(|Plain(value)| value)
}

fn read_or_mend<T: DeserializeOwned>(
    text: &[u8],
    mended: impl FnOnce(&[u8]) -> String,
) -> serde_json::Result<T> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice(text).or_else(|error| {
        // Only the words of the first try have the places of the text as it came.
        serde_json::from_str(&mended(text)).map_err(|_| error)
    })
}

/// As [`read`], whatever it is.
///
/// # Errors
/// Those of [`read`], and where it is nested too deep.
pub(crate) fn value(text: &[u8]) -> serde_json::Result<Value> {
    read(text).map(|Plain(value)| value)
}

/// The same text, with U+FFFD where there is no character; with `half` as in [`read_piece`].
fn mended(text: &[u8], half: Option<&mut String>) -> String {
    let is_piece = half.is_some();
    let mut none = String::new();
    let half = half.unwrap_or(&mut none);
    let text = String::from_utf8_lossy(text);
    let mut mended = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find('\\') {
        let (before, escape) = rest.split_at(start);
        mended.push_str(before);
        // A backslash and what it escapes belong together: the second one of `\\ud83d` begins nothing.
        let (kept, length) = match unit(escape) {
            Some(0xD800..0xDC00) if matches!(unit(&escape[6..]), Some(0xDC00..0xE000)) => (&escape[..12], 12),
            Some(0xD800..0xDC00) if is_piece && escape[6..].starts_with('"') => {
                escape[..6].clone_into(half);
                ("", 6)
            }
            Some(0xDC00..0xE000) if !half.is_empty() && begins_a_text(&mended) => {
                mended.push_str(&std::mem::take(half));
                (&escape[..6], 6)
            }
            Some(0xD800..0xE000) => (r"\ufffd", 6),
            Some(_) => (&escape[..6], 6),
            None => {
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                (&escape[..length], length)
            }
        };
        mended.push_str(kept);
        rest = &escape[length..];
    }
    mended + rest
}

/// Whether what comes after this is the first of a JSON string: the quote before it is none that was escaped.
fn begins_a_text(json: &str) -> bool {
    json.strip_suffix('"').is_some_and(|before| !before.ends_with('\\'))
}

/// The UTF-16 unit that an escape at the start of the text stands for.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(r"\u")?.get(..4)?;
    // `from_str_radix` takes a sign, too.
    let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// A number, also one that is written as text.
pub(crate) fn number(value: &Value) -> Option<f64> {
    let read = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    read.filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read::<Value>(b"\xef\xbb\xbf{\"a\":1}").unwrap(), json!({"a": 1}));
        assert!(read::<Value>(b"\xef\xbb\xbf").is_err());
    }

    #[test]
    fn a_text_in_it_is_not_read_as_more_of_it() {
        let mut text = "1".to_owned();
        for _ in 0..12 {
            let inner = Value::from(format!("{}{text}{}", "[".repeat(120), "]".repeat(120)));
            text = format!(r#"{{"$serde_json::private::RawValue":{inner}}}"#);
        }
        assert!(value(text.as_bytes()).is_err());
    }

    #[test]
    fn a_half_of_a_surrogate_pair_is_no_character() {
        for (written, meant) in [
            (r"a\ud83d", "a\u{fffd}"),
            (r"\uDE00b", "\u{fffd}b"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud83d\n\ude00", "\u{fffd}\n\u{fffd}"),
            (r"\ud83dé", "\u{fffd}é"),
            (r"\\ud83d\ud83d", "\\ud83d\u{fffd}"),
            (r"\\\ud83d", "\\\u{fffd}"),
            (r"\ud83d\\ude00", "\u{fffd}\\ude00"),
        ] {
            let read = read::<String>(format!("\"{written}\"").as_bytes());
            assert_eq!(read.unwrap(), meant, "{written}");
        }
    }

    /// What pieces come to that are written so.
    fn joined(pieces: &[&str]) -> String {
        let mut half = String::new();
        let read = |piece: &&str| read_piece(format!("\"{piece}\"").as_bytes(), &mut half).unwrap();
        pieces.iter().map(read).map(|piece| piece.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_character_that_was_cut_between_two_pieces_is_whole() {
        for (pieces, meant) in [
            (&[r"a\ud83d", r"\ude00b"][..], "a😀b"),
            (&[r"\uD83D", "", r"\uDE00\ud83d", r"\ude01"], "😀😁"),
            // What stays half is no character.
            (&[r"a\ud83d", "b"], "ab"),
            (&["a", r"\ude00b"], "a\u{fffd}b"),
            (&[r"\ud83d", r"b\ude00"], "b\u{fffd}"),
            (&[r"\ud83d", r#"\"\ude00"#], "\"\u{fffd}"),
            (&[r"\\ud83d", r"\ude00"], "\\ud83d\u{fffd}"),
            (&[r"\ud83da", r"\ude00"], "\u{fffd}a\u{fffd}"),
        ] {
            assert_eq!(joined(pieces), meant, "{pieces:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_no_characters() {
        assert_eq!(read::<String>(b"\"a\xff\xe4\xbd\"").unwrap(), "a\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in [r#""\ud83d"#, r#""\"#, r#""\u"#, r#""\ud83d\u12"#, r#""\u+123""#, r#""\ud8é""#, r"\", ""]
        {
            assert!(read::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn where_a_text_is_cut_makes_no_difference(text in "[a\"\\\\é😀𠮷]{0,12}", cuts in prop::collection::vec(any::<bool>(), 24)) {
            let mut pieces = vec![String::new()];
            for (unit, cut) in text.encode_utf16().zip(cuts) {
                pieces.extend(cut.then(String::new));
                if let Some(piece) = pieces.last_mut() {
                    *piece += &format!("\\u{unit:04x}");
                }
            }
            prop_assert_eq!(joined(&pieces.iter().map(String::as_str).collect::<Vec<_>>()), text);
        }

        #[test]
        fn any_text_without_lone_surrogates_is_unchanged(text in any::<String>(), escaped in any::<bool>()) {
            let mut json = Value::from(text.clone()).to_string();
            if escaped {
                json = format!("\"{}\"", text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>());
            }
            prop_assert_eq!(mended(json.as_bytes(), None), &*json);
            prop_assert_eq!(read::<String>(json.as_bytes()).unwrap(), text);
        }

        #[test]
        fn any_utf_16_can_be_read(units in prop::collection::vec(prop_oneof![any::<u16>(), 0xD800_u16..0xE000], 0..20)) {
            let json = format!("\"{}\"", units.iter().map(|unit| format!("\\u{unit:04X}")).collect::<String>());
            prop_assert_eq!(read::<String>(json.as_bytes()).unwrap(), String::from_utf16_lossy(&units));
        }

        #[test]
        fn pieces_of_escapes_in_any_order_are_met_without_harm(
            pieces in prop::collection::vec(prop_oneof![Just("\\"), Just("u"), Just("d83d"), Just("\\ude00"), Just("é"), Just("\"")], 0..12),
        ) {
            let text = pieces.concat();
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert_eq!(mended(text.as_bytes(), None), text);
            } else {
                let _ = read::<Value>(text.as_bytes());
            }
        }
    }
}
