//! Finds every phrase of all rules in a text at once.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use crate::fold::{Folding, Words};

/// What a phrase or pattern is to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// One of the alternatives: of `any` or `regex`.
    Any,
    /// One of `all`, by its place among those that differ.
    All(u32),
    /// One of `near.words`, likewise.
    Near(u32),
    Not,
    Missing,
}

/// Where a phrase or pattern is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) rule: u32,
    pub(crate) key: Key,
}

/// A phrase or pattern in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Which: an index into the uses of the rules.
    pub(crate) what: u32,
    /// The first word, counted in the text; 0 for a pattern.
    pub(crate) word: u32,
    /// How many words; 0 for a pattern.
    pub(crate) words: u32,
    /// Bytes of the text; `end` is one of the next segment where the phrase runs over the border.
    pub(crate) begin: u32,
    pub(crate) end: u32,
}

/// The phrases of all rules.
#[derive(Debug)]
pub(crate) struct Phrases {
    searches: Vec<Search>,
    /// Words of the longest phrase.
    longest: usize,
}

/// The phrases that are compared in one form.
#[derive(Debug)]
struct Search {
    form: Folding,
    automaton: AhoCorasick,
    /// The index into the uses of the rules, by pattern of the automaton.
    what: Vec<u32>,
    /// Number of words, by pattern.
    words: Vec<u32>,
}

/// Collects the phrases of rules, each once.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    known: HashMap<(Folding, String), u32>,
    /// By phrase or pattern.
    pub(crate) uses: Vec<Vec<Use>>,
}

impl Collector {
    /// Adds the use of a phrase. One without words is found nowhere.
    pub(crate) fn phrase(&mut self, form: Folding, phrase: &str, used: Use) {
        let words = Words::new(phrase, form);
        if words.is_empty() {
            return;
        }
        let next = self.uses.len() as u32;
        let what = *self.known.entry((form, words.as_str().to_owned())).or_insert(next);
        if what == next {
            self.uses.push(Vec::new());
        }
        self.uses[what as usize].push(used);
    }

    /// The automata.
    ///
    /// # Errors
    /// When there are more phrases than an automaton holds.
    pub(crate) fn build(&self) -> Result<Phrases, BuildError> {
        let mut searches = Vec::new();
        let mut longest = 0;
        for form in [Folding::Folded, Folding::Written] {
            let known = self.known.iter().filter(|((of, _), _)| *of == form);
            let (patterns, what): (Vec<&String>, Vec<u32>) =
                known.map(|((_, text), what)| (text, *what)).unzip();
            if patterns.is_empty() {
                continue;
            }
            let words: Vec<u32> = patterns
                .iter()
                .map(|text| text.bytes().filter(|byte| *byte == b' ').count() as u32 - 1)
                .collect();
            longest = longest.max(words.iter().copied().max().unwrap_or(0) as usize);
            // All that overlap are needed: "my account" is said where "close my account" is.
            let automaton = AhoCorasick::builder().match_kind(MatchKind::Standard).build(patterns)?;
            searches.push(Search { form, automaton, what, words });
        }
        Ok(Phrases { searches, longest })
    }
}

/// The words at the begin and end of a text that a phrase over its border may need, by form.
#[derive(Debug, Clone)]
pub(crate) struct Edges {
    heads: Vec<Words>,
    tails: Vec<Words>,
    words: Vec<usize>,
}

impl Edges {
    /// Whether the text has a word.
    pub(crate) fn has_words(&self) -> bool {
        self.words.iter().any(|words| *words > 0)
    }

    /// How many words the text has; as written, where all phrases are compared as written.
    pub(crate) fn words(&self) -> usize {
        self.words.first().copied().unwrap_or(0)
    }

    /// Bytes of memory, about.
    pub(crate) fn size(&self) -> usize {
        self.heads.iter().chain(&self.tails).map(Words::size).sum()
    }
}

impl Phrases {
    /// Every phrase in a text.
    pub(crate) fn find(&self, text: &str, hits: &mut Vec<Hit>) -> Edges {
        let mut edges = Edges { heads: Vec::new(), tails: Vec::new(), words: Vec::new() };
        let most = self.longest.saturating_sub(1);
        for search in &self.searches {
            let words = Words::new(text, search.form);
            for found in search.automaton.find_overlapping_iter(words.as_str()) {
                let pattern = found.pattern().as_usize();
                let at = words.at(found.range());
                let origin = words.origin(at.clone());
                hits.push(Hit {
                    what: search.what[pattern],
                    word: at.start as u32,
                    words: search.words[pattern],
                    begin: origin.start as u32,
                    end: origin.end as u32,
                });
            }
            edges.heads.push(words.head(most));
            edges.tails.push(words.tail(most));
            edges.words.push(words.len());
        }
        edges
    }

    /// Every phrase that begins in one text and ends in the next.
    pub(crate) fn find_across(&self, one: &Edges, next: &Edges) -> Vec<Hit> {
        let mut hits = Vec::new();
        for (index, search) in self.searches.iter().enumerate() {
            let (tail, head) = (&one.tails[index], &next.heads[index]);
            if tail.is_empty() || head.is_empty() {
                continue;
            }
            // The space behind the one is the space before the other.
            let border = tail.as_str().len() - 1;
            let joined = format!("{}{}", &tail.as_str()[..border], head.as_str());
            for found in search.automaton.find_overlapping_iter(&joined) {
                if found.start() >= border || found.end() <= border + 1 {
                    continue;
                }
                let pattern = found.pattern().as_usize();
                let first = tail.at(found.start()..border + 1).start;
                let last = head.at(0..found.end() - border).end;
                hits.push(Hit {
                    what: search.what[pattern],
                    word: (one.words[index] - tail.len() + first) as u32,
                    words: search.words[pattern],
                    begin: tail.origin(first..first + 1).start as u32,
                    end: head.origin(0..last).end as u32,
                });
            }
        }
        hits
    }
}
