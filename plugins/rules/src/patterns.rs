//! Finds the regular expressions of all rules in a text.
//!
//! One set tells which of them match at all; only those are then searched for their place, so that expressions that do not match cost
//! nothing each.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

use crate::phrases::Hit;

/// Most bytes that all expressions together compile to: a plugin has 256 MiB unless configured.
const LARGEST: usize = 64 << 20;
/// Bytes that the set may use to remember the states it has been in.
const CACHE: usize = 16 << 20;

/// The expressions of all rules.
#[derive(Debug)]
pub(crate) struct Patterns {
    set: RegexSet,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    /// Compiled when it has matched for the first time: thousands of them take much memory, and few ever match.
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
    // The message has several lines; the last one names the mistake.
    let last = |text: String| {
        let line = text.lines().last().unwrap_or_default().trim().to_owned();
        line.strip_prefix("error: ").map(str::to_owned).unwrap_or(line)
    };
    ParserBuilder::new().build().parse(pattern).map_err(|error| last(error.to_string()))
}

impl Patterns {
    /// Compiles expressions, each with its index into the uses of the rules.
    ///
    /// # Errors
    /// When they are too large together.
    pub(crate) fn build(patterns: Vec<(String, u32)>) -> Result<Patterns, regex::Error> {
        let set = RegexSetBuilder::new(patterns.iter().map(|(text, _)| text))
            .size_limit(LARGEST)
            .dfa_size_limit(CACHE)
            .build()?;
        let patterns = patterns.into_iter();
        let patterns = patterns.map(|(text, what)| Pattern { text, regex: OnceLock::new(), what }).collect();
        Ok(Patterns { set, patterns })
    }

    /// The first place of each expression that matches. Empty matches (of `x*`) are none.
    pub(crate) fn find(&self, text: &str, hits: &mut Vec<Hit>) {
        for index in &self.set.matches(text) {
            let pattern = &self.patterns[index];
            let Some(regex) = pattern.regex() else { continue };
            if let Some(found) = regex.find_iter(text).find(|found| !found.is_empty()) {
                let (begin, end) = (found.start() as u32, found.end() as u32);
                hits.push(Hit { what: pattern.what, word: 0, words: 0, begin, end });
            }
        }
    }
}

impl Pattern {
    /// `None` cannot be: what compiles in the set compiles alone, within the same limit.
    fn regex(&self) -> Option<&Regex> {
        let build = || RegexBuilder::new(&self.text).size_limit(LARGEST).build().ok();
        self.regex.get_or_init(build).as_ref()
    }
}
