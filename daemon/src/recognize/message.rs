//! Makes messages of services and libraries fit for an event.

/// Longest message that goes into an event.
const MESSAGE_CHARS: usize = 300;

/// The message of a service or a library, fit for an event: one line, bounded, without URL queries and without anything like a key.
pub(crate) fn presentable(message: &str) -> String {
    let words: Vec<String> = message.split_whitespace().map(presentable_word).collect();
    bounded(&words.join(" "), MESSAGE_CHARS)
}

fn presentable_word(word: &str) -> String {
    let mut word = word.replace(char::is_control, "");
    if let Some(scheme) = word.find("://")
        && let Some(query) = word[scheme..].find('?')
    {
        word.truncate(scheme + query);
    }
    let mut from = 0;
    while let Some(found) = ["sk-", "st-"].iter().filter_map(|prefix| word[from..].find(prefix)).min() {
        let start = from + found + 3;
        let key =
            word[start..].bytes().take_while(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(b)).count();
        from = start;
        // Shorter ones are ordinary words ("risk-free"), not keys; a key may follow them ("task-7:sk-…").
        if key >= 8 {
            word.replace_range(start..start + key, "***");
        }
    }
    word
}

pub(crate) fn bounded(text: &str, chars: usize) -> String {
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

    #[test]
    fn every_key_of_a_word_is_hidden() {
        for (said, shown) in [
            ("task-7:sk-0123456789abcdef", "task-7:sk-***"),
            ("sk-0123456789abcdef,sk-fedcba9876543210", "sk-***,sk-***"),
            ("st-1/sk-0123456789,st-9876543210;best-of", "st-1/sk-***,st-***;best-of"),
            ("sk-\u{1}0123456789abcdef", "sk-***"),
            ("sk-", "sk-"),
        ] {
            assert_eq!(presentable(said), shown);
        }
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
