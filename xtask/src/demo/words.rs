//! How many of the words that the sample recordings say were heard.

use std::collections::HashMap;

/// Words said and words heard, over all recordings so far.
#[derive(Default)]
pub(crate) struct Words {
    said: usize,
    heard: usize,
}

impl Words {
    /// Compares what a recording says with its transcript, without regard to order, case and punctuation.
    pub(crate) fn compare(&mut self, said: &str, transcript: &str) {
        let mut left: HashMap<String, usize> = HashMap::new();
        for word in words(transcript) {
            *left.entry(word).or_default() += 1;
        }
        for word in words(said) {
            self.said += 1;
            if let Some(count) = left.get_mut(&word).filter(|count| **count > 0) {
                *count -= 1;
                self.heard += 1;
            }
        }
    }

    pub(crate) fn percent_heard(&self) -> usize {
        self.heard * 100 / self.said.max(1)
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of the {} words of the samples were heard ({} %)",
            self.heard,
            self.said,
            self.percent_heard()
        )
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_word_as_often_as_it_was_heard() {
        let mut words = Words::default();
        words.compare("I want to cancel, and I want a refund.", "I want to cancel and want to refund");
        assert_eq!((words.said, words.heard), (9, 7));
        words.compare("One.", "");
        assert_eq!((words.said, words.heard, words.percent_heard()), (10, 7, 70));
    }
}
