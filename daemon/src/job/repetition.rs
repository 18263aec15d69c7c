//! Finds texts in which a recognizer has lost its way and says one phrase over and over. Pure.

/// A phrase that stands more often than this in a row is a repetition (the recognizer's own library removes repetitions from 20 on).
const MOST_IN_A_ROW: usize = 20;

/// The longest phrase that is looked for, in characters.
const LONGEST_PHRASE: usize = 200;

/// Whether a phrase stands more than 20 times in a row in the text. Case does not count; a phrase has a letter or a digit.
///
/// Takes at most 200 comparisons a character.
pub fn repeats(text: &str) -> bool {
    let characters: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let longest = LONGEST_PHRASE.min(characters.len() / (MOST_IN_A_ROW + 1));
    (1..=longest).any(|phrase| repeats_with(&characters, phrase))
}

/// Whether a phrase of this many characters stands more than 20 times in a row.
fn repeats_with(characters: &[char], phrase: usize) -> bool {
    let mut equal = 0;
    for (index, character) in characters.iter().enumerate().skip(phrase) {
        equal = if *character == characters[index - phrase] { equal + 1 } else { 0 };
        // The first phrase of the row has nothing before it that it would equal.
        if equal >= phrase * MOST_IN_A_ROW {
            let row = &characters[index + 1 - phrase..=index];
            return row.iter().any(|character| character.is_alphanumeric());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_phrase_is_found_from_the_twenty_first_time_on(
            phrase in "[a-z]{2,12}[ 。]", before in "[A-Z]{0,30}", after in "[A-Z]{0,30}", times in 1_usize..40,
        ) {
            // A phrase such as "aaaa" is a repetition of its parts already.
            prop_assume!(!repeats(&phrase.repeat(20)));
            let text = format!("{}#{}#{}", before.to_uppercase(), phrase.repeat(times), after);
            prop_assert_eq!(repeats(&text), times > 20);
        }
    }

    #[test]
    fn speech_is_no_repetition() {
        assert!(!repeats(
            "I want to cancel my contract, and I want it today; no, no, no, I do not want to wait."
        ));
        assert!(!repeats(&"-".repeat(100)), "a line is no phrase");
        assert!(!repeats(""));
        assert!(repeats(&"谢谢".repeat(21)));
        assert!(repeats(&format!("Well. {}", "Thank you. ".repeat(21))));
    }
}
