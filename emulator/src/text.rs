//! Makes texts from a hash, and cuts texts into pieces.

/// The text that stands for a recording that the manifest does not know: stable, distinct, plain English words.
///
/// `sha256_hex` is the lower-case hash of the audio bytes as the service received them. Flash answers with it, and
/// filetrans for channel 0.
///
/// ```
/// let text = dashscope_emulator::text_for(&"3fa9".repeat(16));
/// assert!(text.starts_with("unrecognized audio 3fa93fa9 "));
/// assert_eq!(text, dashscope_emulator::text_for(&"3fa9".repeat(16)));
/// ```
pub fn text_for(sha256_hex: &str) -> String {
    let words = sha256_hex.as_bytes().chunks(8).map(|digits| {
        let sum =
            digits.iter().fold(0_usize, |sum, digit| sum.wrapping_mul(31).wrapping_add(usize::from(*digit)));
        WORDS[sum % WORDS.len()]
    });
    let words: Vec<&str> = words.collect();
    let name = sha256_hex.get(..8).unwrap_or(sha256_hex);
    format!("unrecognized audio {name} {}", words.join(" "))
}

/// As [`text_for`] for one channel of a filetrans task; the text of a further channel contains its number.
pub fn text_for_channel(sha256_hex: &str, channel: u32) -> String {
    match channel {
        0 => text_for(sha256_hex),
        _ => format!("channel {channel} of {}", text_for(sha256_hex)),
    }
}

/// Cuts a text as it is streamed: words with the space before them, and each CJK character by itself.
/// The pieces joined are the text.
pub fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    let mut previous: Option<char> = None;
    for (position, letter) in text.char_indices() {
        let starts_piece = previous.is_some_and(|previous| {
            let starts_word = letter.is_whitespace() && !previous.is_whitespace();
            let beside_cjk = is_cjk(letter) || (is_cjk(previous) && letter.is_alphanumeric());
            starts_word || (beside_cjk && !previous.is_whitespace())
        });
        if starts_piece {
            pieces.push(&text[begin..position]);
            begin = position;
        }
        previous = Some(letter);
    }
    if begin < text.len() {
        pieces.push(&text[begin..]);
    }
    pieces
}

/// Cuts a text into sentences behind their punctuation; the pieces are trimmed and none is empty.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut begin = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((position, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        let ends = match letter {
            // A full stop inside a number or a name ends no sentence.
            '.' | '?' | '!' => next.is_none_or(char::is_whitespace),
            '。' | '？' | '！' => true,
            _ => false,
        };
        if ends {
            let end = position + letter.len_utf8();
            sentences.push(text[begin..end].trim());
            begin = end;
        }
    }
    sentences.push(text[begin..].trim());
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// Joins sentences: with a space, and without one where CJK characters meet.
pub fn join<'a>(sentences: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for sentence in sentences.into_iter().filter(|sentence| !sentence.is_empty()) {
        let meets_cjk = text.chars().next_back().is_some_and(is_cjk_or_its_punctuation);
        if !text.is_empty() && !meets_cjk {
            text.push(' ');
        }
        text.push_str(sentence);
    }
    text
}

/// Whether the character belongs to a script that is written without spaces.
pub fn is_cjk(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

fn is_cjk_or_its_punctuation(letter: char) -> bool {
    is_cjk(letter) || matches!(letter, '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ffef}')
}

/// Short, distinct, spoken; none of them a word that an alert would match.
const WORDS: [&str; 32] = [
    "amber", "anchor", "basil", "birch", "canyon", "cedar", "copper", "coral", "delta", "ember", "falcon",
    "fern", "garnet", "harbor", "hazel", "indigo", "ivory", "juniper", "lantern", "maple", "meadow",
    "nickel", "olive", "orchid", "pebble", "quartz", "raven", "saffron", "tundra", "velvet", "willow",
    "zephyr",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_words_with_their_leading_space_and_join_to_the_text() {
        assert_eq!(pieces("I want  to go."), ["I", " want", "  to", " go."]);
        assert_eq!(pieces("你好，世界 ok 了"), ["你", "好，", "世", "界", " ok", " 了"]);
        assert_eq!(pieces(""), [""; 0]);
        for text in ["  leading", "trailing ", "mixed 日本語text", "a"] {
            assert_eq!(pieces(text).concat(), text);
        }
    }

    #[test]
    fn sentences_end_at_punctuation_but_not_inside_numbers() {
        assert_eq!(sentences("It is 3.5 miles. Is it? Yes"), ["It is 3.5 miles.", "Is it?", "Yes"]);
        assert_eq!(sentences("好。是吗？"), ["好。", "是吗？"]);
        assert_eq!(sentences("  "), [""; 0]);
        assert_eq!(join(sentences("好。是吗？")), "好。是吗？");
        assert_eq!(join(["One.", "Two."]), "One. Two.");
    }

    #[test]
    fn every_hash_has_a_text_of_its_own() {
        let texts: std::collections::HashSet<String> = (0..500_u64)
            .map(|number| text_for(&format!("{number:064x}").chars().rev().collect::<String>()))
            .collect();
        assert_eq!(texts.len(), 500);
        assert_ne!(text_for_channel("00", 0), text_for_channel("00", 1));
    }
}
