//! Makes text from outside (names of files and messages, ids, metadata, messages of plugins, servers and the service) safe to show to a
//! person.
//!
//! Such text could command the terminal, begin a new line, reverse the direction of the text behind it, or be invisible. It is escaped here
//! and nowhere else: every log line and every line that a command prints passes through these functions.

use std::borrow::Cow;
use std::fmt::Write;

/// The text on one line, safe for a terminal: characters that command or deceive are written as `\n`, `\u{1b}`, `\u{202e}`.
pub fn readable(text: &str) -> Cow<'_, str> {
    let is_bad = |character: char| character.is_control() || is_deceptive(character);
    replaced(text, is_bad, |character| character.escape_default().to_string())
}

/// An equivalent JSON text: what [`readable`] escapes is written as `\u009b`, `\u202e`. White space between values stays.
pub fn readable_json(text: &str) -> Cow<'_, str> {
    // Below it, JSON has white space between values only.
    let is_bad =
        |character: char| (character.is_control() && character >= '\u{7f}') || is_deceptive(character);
    replaced(text, is_bad, |character| {
        let mut escaped = String::new();
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
        escaped
    })
}

fn replaced(text: &str, is_bad: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.chars().any(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_bad(character) {
            true => shown.push_str(&escape(character)),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Characters without a glyph that break lines, reverse the direction of the text or only add to a name: Unicode's line and paragraph
/// separators, marks and isolates of direction, joiners and spaces of no width, annotations and tags.
fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these alone does harm.
    const BAD: [char; 25] = [
        '\0',
        '\x07',
        '\x08',
        '\n',
        '\r',
        '\t',
        '\x1b',
        '\x7f',
        '\u{85}',
        '\u{9b}',
        '\u{9d}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2067}',
        '\u{2069}',
        '\u{feff}',
        '\u{e0041}',
    ];

    #[test]
    fn what_commands_or_deceives_is_escaped_and_the_rest_stays() {
        for bad in BAD {
            let shown = readable(&format!("a{bad}b")).into_owned();
            assert!(shown.starts_with("a\\") && shown.ends_with('b') && shown.is_ascii(), "{bad:?}: {shown}");
            assert_eq!(readable(&shown), shown, "once is enough");
        }
        assert_eq!(readable("\x1b]0;owned\x07\n.wav"), "\\u{1b}]0;owned\\u{7}\\n.wav");
        for good in ["call 7.wav", "Grüße \\ \"x\".wav", "订单录音.wav", "مكالمة.wav", "é\u{301} 👍🏽"]
        {
            assert!(matches!(readable(good), Cow::Borrowed(_)), "{good}");
        }
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = serde_json::json!({ "name": BAD.iter().collect::<String>(), "good": "订单 \u{10ffff}" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = readable_json(&text);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
            assert!(!shown.contains(|c: char| c != '\n' && (c.is_control() || is_deceptive(c))), "{shown}");
        }
    }
}
