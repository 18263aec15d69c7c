//! The texts of segments as one text: what `text` of a `transcript.final` is made of.

/// The texts in one, with a space between two of them where their scripts have spaces. Empty texts are left out.
pub fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut whole = String::new();
    for text in texts.into_iter().map(str::trim).filter(|text| !text.is_empty()) {
        if let (Some(last), Some(first)) = (whole.chars().next_back(), text.chars().next())
            && !is_unspaced(last)
            && !is_unspaced(first)
        {
            whole.push(' ');
        }
        whole.push_str(text);
    }
    whole
}

/// The texts of segments, each with its channel, in order of time: one line for each change of channel, without empty texts.
pub fn dialogue<'a>(said: impl IntoIterator<Item = (u32, &'a str)>) -> String {
    let said: Vec<(u32, &str)> = said.into_iter().filter(|(_, text)| !text.trim().is_empty()).collect();
    let lines = said.chunk_by(|one, next| one.0 == next.0);
    lines.map(|line| joined(line.iter().map(|(_, text)| *text))).collect::<Vec<_>>().join("\n")
}

/// Whether the character belongs to a script that puts no spaces between words: Thai and Lao, Burmese, Khmer, Chinese and Japanese with
/// their punctuation. Korean has spaces.
pub fn is_unspaced(character: char) -> bool {
    match character {
        '\u{3130}'..='\u{318F}' | '\u{3200}'..='\u{321E}' | '\u{3260}'..='\u{327E}' => false, // Hangul among CJK symbols
        '\u{FFA0}'..='\u{FFDC}' => false, // halfwidth Hangul
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' => true,
        '\u{2E80}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE4F}' => true,
        '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaced_scripts_get_a_space_and_unspaced_ones_do_not() {
        for (texts, expected) in [
            (&["Good morning.", "How are you?"][..], "Good morning. How are you?"),
            (&["你好。", "今天天气"], "你好。今天天气"),
            (&["今天天气", "很好"], "今天天气很好"),
            (&["Hello.", "你好"], "Hello.你好"),
            (&["你好", "Hello"], "你好Hello"),
            (&["です。", "ありがとう"], "です。ありがとう"),
            (&["ｶﾀｶﾅ", "カタカナ"], "ｶﾀｶﾅカタカナ"),
            (&["สวัสดี", "ครับ"], "สวัสดีครับ"),
            (&["안녕하세요", "여러분"], "안녕하세요 여러분"),
            (&["Привет,", "мир"], "Привет, мир"),
            (&["", " a ", "", "b", " "], "a b"),
            (&[], ""),
        ] {
            assert_eq!(joined(texts.iter().copied()), expected);
        }
    }
}
