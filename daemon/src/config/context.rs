//! How much context a model takes, and the estimate of its length. The service's tokenizer is not at hand.

/// The most context that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextLimit {
    /// So many tokens, as Hark estimates them.
    Tokens(usize),
    /// So many characters; what is longer the service cuts off.
    Characters(usize),
    /// The model takes none.
    NoContext,
    /// The limit is the server's own.
    Unknown,
}

impl ContextLimit {
    /// What is wrong with the length of a context, as the end of a sentence; `None`: it fits. The daemon sends no context to a model without
    /// context, so then every length fits.
    pub fn excess(self, context: &str) -> Option<String> {
        match self {
            ContextLimit::Tokens(most) => {
                let tokens = estimated_tokens(context);
                (tokens > most).then(|| {
                    format!(
                        "has about {tokens} tokens (estimated rather too high), and the model takes {most}"
                    )
                })
            }
            ContextLimit::Characters(most) => {
                let characters = context.chars().count();
                (characters > most)
                    .then(|| format!("has {characters} characters, and the model takes {most}"))
            }
            ContextLimit::NoContext | ContextLimit::Unknown => None,
        }
    }
}

/// Letters of a token of an English word. The tokenizers of such models average more than four.
const LETTERS_OF_A_TOKEN: usize = 3;

/// An estimate of a text's tokens. It is rather too high, so that the service accepts every text that passes: three ASCII letters, or one other
/// character, digit or mark, count as a token; a blank belongs to the word behind it.
pub fn estimated_tokens(text: &str) -> usize {
    let (mut tokens, mut letters) = (0, 0_usize);
    for character in text.chars() {
        if character.is_ascii_alphabetic() {
            letters += 1;
            continue;
        }
        tokens += letters.div_ceil(LETTERS_OF_A_TOKEN);
        letters = 0;
        if character != ' ' {
            tokens += 1;
        }
    }
    tokens + letters.div_ceil(LETTERS_OF_A_TOKEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_estimate_is_above_what_tokenizers_count() {
        for (text, tokens) in [
            ("", 0),
            ("Hark", 2),
            ("names: Ada Lovelace", 7),
            ("你好，世界", 5),
            ("2026-11-30", 10),
            ("Żółć", 4),
        ] {
            assert_eq!(estimated_tokens(text), tokens, "{text}");
        }
    }

    #[test]
    fn a_context_over_the_limit_is_told_with_its_length() {
        assert_eq!(ContextLimit::Tokens(10_000).excess(&"好".repeat(10_000)), None);
        let excess = ContextLimit::Tokens(10_000).excess(&"好".repeat(10_001)).unwrap();
        assert!(excess.starts_with("has about 10001 tokens"), "{excess}");
        assert_eq!(ContextLimit::Characters(400).excess(&"好".repeat(400)), None);
        let excess = ContextLimit::Characters(400).excess(&"a".repeat(401)).unwrap();
        assert_eq!(excess, "has 401 characters, and the model takes 400");
        assert_eq!(ContextLimit::NoContext.excess("any"), None);
    }

    proptest! {
        #[test]
        fn no_tokenizer_counts_more_words_and_signs(text in "[a-z 0-9.好世Żж\n]{0,200}") {
            let words: usize = text
                .split_whitespace()
                .map(|word| word.chars().filter(|sign| !sign.is_ascii_alphabetic()).count().max(1))
                .sum();
            prop_assert!(estimated_tokens(&text) >= words);
        }
    }
}
