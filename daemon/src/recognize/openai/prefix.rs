//! The prefix `language English<asr_text>` that Qwen3-ASR writes before its text: it names the language that the model heard, and is no part
//! of what was said. It may be missing, and a stream may cut it anywhere.

const LANGUAGE: &str = "language ";
const TEXT: &str = "<asr_text>";

/// Longest list of languages; behind more, the word "language" is part of the speech.
const LONGEST_NAMES: usize = 80;

/// Separates the prefix from the text.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    /// What may be a part of the prefix; empty once it has passed.
    held: String,
    has_passed: bool,
}

/// Text, and the language that the prefix named, if this part of the answer completed the prefix.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) text: String,
    /// The name as the model writes it, such as `Chinese`, or `None` for no speech.
    pub(super) language: Option<String>,
}

impl Prefix {
    /// Takes the next part of the answer and returns the text that is known to be text.
    pub(super) fn push(&mut self, part: &str) -> Parsed {
        if self.has_passed {
            return Parsed { text: part.to_owned(), language: None };
        }
        self.held.push_str(part);
        let begun = self.held.trim_start();
        let space = self.held.len() - begun.len();
        if let Some((head, text)) = begun.split_once(TEXT)
            && let Some(language) = names(head)
        {
            let text = format!("{}{text}", &self.held[..space]);
            let language = Some(language.to_owned()).filter(|language| !language.is_empty());
            (self.held, self.has_passed) = (String::new(), true);
            return Parsed { text, language };
        }
        if may_become_prefix(begun) { Parsed::default() } else { self.end() }
    }

    /// The answer has ended: what was held is text.
    pub(super) fn end(&mut self) -> Parsed {
        self.has_passed = true;
        Parsed { text: std::mem::take(&mut self.held), language: None }
    }

    /// Starts the search for a prefix anew: the server goes on with its own next piece, which may have a prefix again.
    pub(super) fn next_part(&mut self) {
        self.has_passed = false;
    }
}

/// The languages that stand before [`TEXT`]; `None`: this is no prefix.
fn names(head: &str) -> Option<&str> {
    let names = match head.trim_end() {
        "" => "",
        head => head.strip_prefix(LANGUAGE)?.trim(),
    };
    are_names(names).then_some(names)
}

fn are_names(text: &str) -> bool {
    let is_of_name = |letter: char| letter.is_alphabetic() || matches!(letter, ' ' | ',' | '-' | '(' | ')');
    text.len() <= LONGEST_NAMES && text.chars().all(is_of_name)
}

fn may_become_prefix(begun: &str) -> bool {
    if LANGUAGE.starts_with(begun) || TEXT.starts_with(begun) {
        return true;
    }
    let Some(rest) = begun.strip_prefix(LANGUAGE) else { return false };
    let (names, tag) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
    are_names(names) && TEXT.starts_with(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(parts: &[&str]) -> Parsed {
        let mut prefix = Prefix::default();
        let mut all = Parsed::default();
        let mut told: Vec<Parsed> = parts.iter().map(|part| prefix.push(part)).collect();
        told.push(prefix.end());
        for told in told {
            all.text.push_str(&told.text);
            all.language = all.language.or(told.language);
        }
        all
    }

    const ANSWERS: [(&str, &str, Option<&str>); 11] = [
        ("language English<asr_text>the words", "the words", Some("English")),
        ("language None<asr_text>", "", Some("None")),
        ("language Chinese,English<asr_text>你好 world", "你好 world", Some("Chinese,English")),
        ("the words", "the words", None),
        ("", "", None),
        ("language", "language", None),
        ("language is a tool, 100 %", "language is a tool, 100 %", None),
        ("language barriers<br>", "language barriers<br>", None),
        ("<asr_text>the words", "the words", None),
        ("We say <asr_text> here", "We say <asr_text> here", None),
        ("language English<asr_text>language is <asr_text>", "language is <asr_text>", Some("English")),
    ];

    #[test]
    fn the_prefix_is_told_from_the_text() {
        for (answer, text, language) in ANSWERS {
            assert_eq!(told(&[answer]), Parsed { text: text.into(), language: language.map(str::to_owned) });
        }
        let long = format!("language {} <asr_text>", "and so on ".repeat(20));
        assert_eq!(told(&[&long]).text, long);
    }

    #[test]
    fn a_text_is_not_held_back_for_long() {
        let mut prefix = Prefix::default();
        assert_eq!(prefix.push("lang").text, "");
        assert_eq!(prefix.push("ues die").text, "langues die");
        assert_eq!(prefix.push(" lives").text, " lives");
        prefix.next_part();
        assert_eq!(
            prefix.push(" language English<asr_text>next"),
            Parsed { text: " next".into(), language: Some("English".into()) }
        );
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            which in 0..ANSWERS.len(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let (answer, _, _) = ANSWERS[which];
            let letters: Vec<char> = answer.chars().collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(letters.len() + 1)).collect();
            cuts.extend([0, letters.len()]);
            cuts.sort_unstable();
            let parts: Vec<String> = cuts.windows(2).map(|pair| letters[pair[0]..pair[1]].iter().collect()).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            prop_assert_eq!(told(&parts), told(&[answer]));
        }
    }
}
