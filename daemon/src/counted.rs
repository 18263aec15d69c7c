//! Numbers with their nouns, for sentences.

use std::fmt::Display;

/// `1 event`, `2 events`, `0 events`. `noun`: its singular, whose plural ends in s.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let numbers = [0_u64, 1, 2].map(|number| counted(number, "event"));
        assert_eq!(numbers, ["0 events", "1 event", "2 events"]);
    }
}
