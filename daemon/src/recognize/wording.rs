//! How what others said is told in an event.

/// Longest message that goes into an event.
const MESSAGE_CHARS: usize = 300;

/// What a service or a library said, fit for an event: one line, bounded, without URL queries and without anything like a key.
pub(super) fn presentable(message: &str) -> String {
    let words: Vec<String> = message.split_whitespace().map(presentable_word).collect();
    bounded(&words.join(" "), MESSAGE_CHARS)
}

fn presentable_word(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(scheme) = word.find("://")
        && let Some(query) = word[scheme..].find('?')
    {
        word.truncate(scheme + query);
    }
    for prefix in ["sk-", "st-"] {
        if let Some(start) = word.find(prefix) {
            let key = word[start + 3..]
                .bytes()
                .take_while(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(b))
                .count();
            // Shorter ones are words ("risk-free"), not keys.
            if key >= 8 {
                word.replace_range(start + 3..start + 3 + key, "***");
            }
        }
    }
    word.retain(|c| !c.is_control());
    word
}

pub(super) fn bounded(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_one_bounded_line_without_keys_and_queries() {
        let long = "x".repeat(400);
        let said = format!(
            "Incorrect key\n sk-0123456789abcdef; see https://host/path?Signature=secret&x=1 risk-free {long}"
        );
        let message = presentable(&said);
        assert!(
            message.starts_with("Incorrect key sk-***; see https://host/path risk-free xxx"),
            "{message}"
        );
        assert_eq!(message.chars().count(), 301);
    }

    proptest! {
        #[test]
        fn any_message_becomes_presentable(message in "\\PC{0,400}") {
            let shown = presentable(&message);
            prop_assert!(shown.chars().count() <= MESSAGE_CHARS + 1);
            prop_assert!(!shown.contains('\n'));
        }
    }
}
