//! Finds the regular expressions of all rules in a text.
//!
//! Most expressions need some literal text. One automaton looks for the literals of all of them, and only an expression whose literal is
//! there is searched for. The others are in one set, which tells which of them match at all. So expressions that do not match cost next to
//! nothing each.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::{Regex, RegexSet, RegexSetBuilder};
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use crate::fold::caseless;
use crate::phrases::Hit;

/// Most bytes that the expressions of the set compile to: a plugin has 256 MiB unless configured.
const LARGEST_SET: usize = 64 << 20;
/// Bytes that the set may use to remember the states it has been in.
const SET_CACHE: usize = 16 << 20;
/// Fewest bytes of a literal that is looked for: a single letter stands in every text.
const SHORTEST_LITERAL: usize = 2;

/// The expressions of all rules.
#[derive(Debug)]
pub(crate) struct Patterns {
    patterns: Vec<Pattern>,
    /// Finds the literals, without case.
    literals: Option<AhoCorasick>,
    /// The expressions that need a literal, by literal.
    of_literal: Vec<Vec<usize>>,
    /// The expressions without a literal, in the order of `of_set`.
    set: RegexSet,
    of_set: Vec<usize>,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    /// Compiled when it may match for the first time: thousands of them take much memory, and few ever match.
    regex: OnceLock<Option<Regex>>,
    what: u32,
}

/// An expression that begins with what its rule says about case.
pub(crate) fn with_case(pattern: &str, fold: bool) -> String {
    if fold { format!("(?i){pattern}") } else { pattern.to_owned() }
}

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, in one line.
pub(crate) fn parse(pattern: &str) -> Result<Hir, String> {
    regex_syntax::parse(pattern).map_err(|error| last_line(&error.to_string()))
}

/// Compiles an expression alone, to see that it can be.
///
/// # Errors
/// What is wrong with it, in one line: it is too large, or no expression.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| last_line(&error.to_string()))
}

/// Messages have several lines; the last one names the mistake.
fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

impl Patterns {
    /// Takes expressions that compile, each as it is written, with what its rule says about case, and with its index into the uses of the rules.
    ///
    /// # Errors
    /// When those without a literal are too large together.
    pub(crate) fn build(expressions: Vec<(&Hir, String, u32)>) -> Result<Patterns, String> {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let (mut of_literal, mut of_set): (Vec<Vec<usize>>, Vec<usize>) = Default::default();
        for (pattern, (hir, ..)) in expressions.iter().enumerate() {
            let Some(literals) = literals_of(hir) else {
                of_set.push(pattern);
                continue;
            };
            for literal in literals {
                let next = numbers.len();
                let number = *numbers.entry(literal).or_insert(next);
                if number == next {
                    of_literal.push(Vec::new());
                }
                of_literal[number].push(pattern);
            }
        }
        let mut texts = vec![""; numbers.len()];
        numbers.iter().for_each(|(text, number)| texts[*number] = text);
        let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&texts);
        let literals =
            if texts.is_empty() { None } else { Some(automaton.map_err(|error| error.to_string())?) };
        let set = RegexSetBuilder::new(of_set.iter().map(|pattern| &expressions[*pattern].1))
            .size_limit(LARGEST_SET)
            .dfa_size_limit(SET_CACHE)
            .build()
            .map_err(|error| last_line(&error.to_string()))?;
        let patterns = expressions.into_iter();
        let patterns =
            patterns.map(|(_, text, what)| Pattern { text, regex: OnceLock::new(), what }).collect();
        Ok(Patterns { patterns, literals, of_literal, set, of_set })
    }

    /// The first place of each expression that matches. Empty matches (of `x*`) are none.
    pub(crate) fn find(&self, text: &str, hits: &mut Vec<Hit>) {
        let mut candidates: BTreeSet<usize> =
            self.set.matches(text).iter().map(|index| self.of_set[index]).collect();
        if let Some(literals) = &self.literals {
            let text = without_case(text);
            let found = literals.find_overlapping_iter(&text);
            candidates.extend(found.flat_map(|found| &self.of_literal[found.pattern()]));
        }
        for pattern in candidates {
            let pattern = &self.patterns[pattern];
            let Some(regex) = pattern.regex() else { continue };
            if let Some(found) = regex.find_iter(text).find(|found| !found.is_empty()) {
                let (begin, end) = (found.start() as u32, found.end() as u32);
                hits.push(Hit { what: pattern.what, word: 0, words: 0, begin, end });
            }
        }
    }
}

impl Pattern {
    /// `None` cannot be: it compiled before.
    fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_init(|| compile(&self.text).ok()).as_ref()
    }
}

/// Texts without case, one of which stands in every text, without case, that an expression matches: those that it begins with, or those
/// that it ends with, where they are longer. `None`: there are no such texts.
fn literals_of(hir: &Hir) -> Option<BTreeSet<String>> {
    let of_kind = |kind: ExtractKind| -> Option<BTreeSet<String>> {
        let is_prefix = matches!(kind, ExtractKind::Prefix);
        let found = Extractor::new().kind(kind).extract(hir);
        let texts = found
            .literals()?
            .iter()
            .map(|literal| without_case(&whole_characters(literal.as_bytes(), is_prefix)));
        Some(texts.collect())
    };
    let shortest = |texts: &BTreeSet<String>| texts.iter().map(String::len).min().unwrap_or(0);
    let kinds = [of_kind(ExtractKind::Prefix), of_kind(ExtractKind::Suffix)];
    let longest = kinds.into_iter().flatten().max_by_key(shortest)?;
    // Where "refund" stands, "refunds" need not be looked for.
    let is_least = |text: &&String| !longest.iter().any(|other| other != *text && text.contains(other));
    (shortest(&longest) >= SHORTEST_LITERAL).then(|| longest.iter().filter(is_least).cloned().collect())
}

/// The characters of a literal that are whole: a long one may be cut at its end, or at its begin if it is an end.
fn whole_characters(bytes: &[u8], is_prefix: bool) -> String {
    let is_inner = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    let bytes =
        if is_prefix { bytes } else { &bytes[bytes.iter().take_while(|byte| is_inner(byte)).count()..] };
    bytes.utf8_chunks().next().map(|chunk| chunk.valid().to_owned()).unwrap_or_default()
}

fn without_case(text: &str) -> String {
    let mut lowered = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_ascii() {
            true => lowered.push(character.to_ascii_lowercase()),
            false => lowered.extend(caseless(character)),
        }
    }
    lowered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn literals(pattern: &str) -> Option<Vec<String>> {
        literals_of(&parse(pattern).unwrap()).map(|literals| literals.into_iter().collect())
    }

    #[test]
    fn expressions_are_looked_for_by_their_literals() {
        for (pattern, expected) in [
            ("refund(s|ed)?", Some(&["refund"][..])),
            (r"\bCancel\b", Some(&["cancel"])),
            (r"\d+ euros", Some(&[" euros"])),
            ("退款|投诉", Some(&["投诉", "退款"])),
            ("(?-i)IBAN", Some(&["iban"])),
            ("Straße", Some(&["strasse"])),
            (r"\w+", None),
            ("x*", None),
            ("[a-z]", None),
        ] {
            let expected =
                expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            assert_eq!(literals(pattern), expected, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn every_match_is_found(
            patterns in prop::collection::vec("(a|b|st|K|s|é|[ab]|退|\\\\d|\\\\b|\\\\w)(\\?|\\+|\\{2\\})?(a|b|st|k|ß|退|é|\\|){0,4}", 1..6),
            text in "[aAbBsStTkKſKéÉß退0 ]{0,20}",
            fold in any::<bool>(),
        ) {
            let parsed: Vec<(Hir, String)> = patterns
                .iter()
                .filter_map(|pattern| Some((parse(pattern).ok()?, with_case(pattern, fold))))
                .collect();
            let expressions = (0..).zip(&parsed).map(|(what, (hir, text))| (hir, text.clone(), what)).collect();
            let mut hits = Vec::new();
            Patterns::build(expressions).unwrap().find(&text, &mut hits);
            hits.sort_by_key(|hit| hit.what);
            let found: Vec<(u32, u32, u32)> = hits.iter().map(|hit| (hit.what, hit.begin, hit.end)).collect();
            let expected: Vec<(u32, u32, u32)> = (0..)
                .zip(&parsed)
                .filter_map(|(what, (_, pattern))| {
                    let regex = Regex::new(pattern).unwrap();
                    let found = regex.find_iter(&text).find(|found| !found.is_empty())?;
                    Some((what, found.start() as u32, found.end() as u32))
                })
                .collect();
            prop_assert_eq!(found, expected, "{:?}", parsed);
        }
    }
}
