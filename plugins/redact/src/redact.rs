//! Finds what must not leave in the texts of an event.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::config::{Config, Find};
use hark_rules::Mistake;

use crate::lex::{Atom, What, lex};
use crate::numbers::{Finders, Value, values};
use crate::own::Own;
use crate::runs::{Group, Quiet, Run, digits, runs};
use crate::text::Joined;
use crate::token::Kind;
use crate::{email, iban, own, pieces, token};

/// A text of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) channel: u32,
    pub(crate) speaker: Option<&'a str>,
    pub(crate) begin_ms: Option<u64>,
    pub(crate) language: Option<&'a str>,
    pub(crate) text: &'a str,
}

/// Which borders of the texts have something unknown behind them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    pub(crate) begin: bool,
    pub(crate) end: bool,
    /// The begin is that of the recording, which may be a part of a call.
    pub(crate) is_first: bool,
    /// The last word may go on.
    pub(crate) is_partial: bool,
}

/// A range of a text that is taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) range: Range<usize>,
    /// `None`: a filler; nothing stands in its place.
    pub(crate) kind: Option<Kind>,
    pub(crate) value: String,
    /// The digits may go on behind the end of the texts.
    pub(crate) is_tail: bool,
    rank: Rank,
}

/// Which of several that overlap names the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// What a finder found in what one channel said.
    Channel,
    /// What a finder found over the turns of several channels.
    Turns,
    /// Digits at a border.
    Border,
    Filler,
}

/// The finders of a config.
pub(crate) struct Finder {
    numbers: Finders,
    email: bool,
    fillers: bool,
    own: Own,
}

/// Texts in the order in which they were said.
struct Stream<'a> {
    texts: Vec<(usize, Said<'a>)>,
    rank: Rank,
    /// For each text: another speaker or channel follows it.
    turns: Vec<bool>,
}

impl Finder {
    pub(crate) fn new(config: &Config) -> Result<Finder, Vec<Mistake>> {
        let numbers = Finders {
            card: config.finds(Find::Card),
            phone: config.finds(Find::Phone),
            iban: config.finds(Find::Iban),
            digits: config.finds(Find::Digits),
        };
        let (email, fillers) = (config.finds(Find::Email), config.fillers);
        Ok(Finder { numbers, email, fillers, own: Own::new(config)? })
    }

    /// The part of a partial that may leave as far as addresses are concerned: without an address that is not at its end, and without the
    /// last word, which may become one.
    pub(crate) fn without_last_word<'a>(&self, text: &'a str) -> &'a str {
        if !self.email || token::ends(text) {
            return text;
        }
        let joined = Joined::new(std::iter::once(text));
        match email::unfinished(&joined.folded) {
            Some(cut) => text[..joined.plain(&(cut..cut)).start].trim_end(),
            None => text,
        }
    }

    /// What is to be taken out of each text, in order and without overlaps.
    pub(crate) fn find(&self, said: &[Said], edges: Edges) -> Vec<Vec<Taken>> {
        let mut found: Vec<Vec<Taken>> = vec![Vec::new(); said.len()];
        for stream in streams(said) {
            self.find_in(&stream, edges, &mut found);
            if self.email {
                self.find_addresses(&stream.without_interjections(), edges, &mut found);
            }
        }
        found.into_iter().map(merged).collect()
    }

    fn find_in(&self, stream: &Stream, edges: Edges, found: &mut [Vec<Taken>]) {
        let joined = Joined::new(stream.texts.iter().map(|(_, said)| said.text));
        let mut page = Page { stream, joined: &joined, tokens: stream.tokens(), found };
        if self.numbers != Finders::default() {
            self.find_numbers(&mut page, edges);
        }
        if stream.rank == Rank::Channel {
            self.find_others(&mut page, edges);
        }
    }

    fn find_addresses(&self, stream: &Stream, edges: Edges, found: &mut [Vec<Taken>]) {
        let joined = &Joined::new(stream.texts.iter().map(|(_, said)| said.text));
        let mut page = Page { stream, joined, tokens: stream.tokens(), found };
        let text = &joined.folded[..];
        let addresses = email::find(text);
        let begin = pieces::at_begin(text).filter(|_| edges.begin && !edges.is_first);
        let end = pieces::at_end(text).filter(|_| edges.end && !edges.is_partial);
        let at_border = begin.into_iter().chain(end).filter(|part| {
            stream.rank == Rank::Channel
                && !addresses.iter().any(|it| it.start < part.end && part.start < it.end)
        });
        for range in addresses.iter().cloned().chain(at_border) {
            let value = email::normalized(&text[range.clone()]);
            page.take(joined.plain(&range), Some(Kind::Email), &value, false, stream.rank);
        }
    }

    fn find_numbers(&self, page: &mut Page, edges: Edges) {
        let joined = page.joined;
        let text = &joined.folded[..];
        let atoms = lex(text, edges.is_partial);
        let mut ibans = BTreeMap::new();
        if self.numbers.iban {
            let is_capital = |range: &Range<usize>| {
                let plain = &joined.plain[joined.plain(range)];
                range.len() == 1 || plain.chars().all(char::is_uppercase)
            };
            for iban in iban::find(text, is_capital, &atoms) {
                let is_tail = edges.is_partial && !text[iban.range.end..].contains(char::is_alphanumeric);
                page.take(
                    joined.plain(&iban.range),
                    Some(Kind::Iban),
                    &iban.value,
                    is_tail,
                    page.stream.rank,
                );
                ibans.insert(iban.range.start, iban.range.end);
            }
        }
        for run in runs(text, &atoms, self.numbers.card) {
            let is_of_iban = |group: &Group| {
                let before = ibans.range(..=group.range.start).next_back();
                before.is_some_and(|(_, end)| *end >= group.range.end)
            };
            let values = values(text, &run, self.numbers);
            let border = at_border(text, &run, &values, page.stream, edges);
            let found = values.iter().map(|it| (it, page.stream.rank));
            for (value, rank) in found.chain(border.iter().map(|it| (it, Rank::Border))) {
                let groups = &run.groups[value.groups.clone()];
                if groups.iter().all(is_of_iban) {
                    continue;
                }
                let is_last = value.groups.end == run.groups.len();
                let is_tail = edges.is_partial && run.after.is_outer && is_last;
                for part in groups.chunk_by(|one, next| one.text == next.text) {
                    let mut range = with_signs(text, part[0].range.start)..part[part.len() - 1].range.end;
                    if value.kind == Kind::Phone && is_last {
                        range.end = with_extension(text, range.end, &atoms);
                    }
                    page.take(joined.plain(&range), Some(value.kind), &digits(groups), is_tail, rank);
                }
            }
        }
    }

    /// Fillers, own words and patterns.
    fn find_others(&self, page: &mut Page, edges: Edges) {
        let joined = page.joined;
        if self.fillers {
            for range in own::fillers(&joined.folded) {
                page.take(joined.plain(&range), None, "", false, Rank::Filler);
            }
        }
        for (range, value) in self.own.words(&joined.plain) {
            page.take(range, Some(Kind::Word), &value, false, Rank::Channel);
        }
        let begin = self.own.ended_phrase(&joined.plain).filter(|_| edges.begin && !edges.is_first);
        let end = self.own.begun_phrase(&joined.plain).filter(|_| edges.end && !edges.is_partial);
        for (range, value) in begin.into_iter().chain(end) {
            page.take(range, Some(Kind::Word), &value, false, Rank::Border);
        }
        for (range, value) in self.own.patterns(&joined.plain) {
            page.take(range, Some(Kind::Pattern), &value, false, Rank::Channel);
        }
    }
}

impl<'a> Stream<'a> {
    /// The tokens of each text.
    fn tokens(&self) -> Vec<Vec<Range<usize>>> {
        let tokens = |(_, said): &(usize, Said)| token::all(said.text).map(|(range, ..)| range).collect();
        self.texts.iter().map(tokens).collect()
    }

    /// The texts without those that are an interjection, such as "uh huh" in the middle of an address. The borders of turns are left out.
    fn without_interjections(&self) -> Stream<'a> {
        let is_interjection = |text: &str| {
            let joined = Joined::new(std::iter::once(text));
            Quiet::of(&lex(&joined.folded, false)) == Quiet::Between && !email::has_sign(&joined.folded)
        };
        let texts = self.texts.iter().copied().filter(|(_, said)| !is_interjection(said.text)).collect();
        Stream { texts, rank: self.rank, turns: Vec::new() }
    }
}

/// A stream, and what was found in its texts.
struct Page<'p> {
    stream: &'p Stream<'p>,
    joined: &'p Joined,
    /// Of each text.
    tokens: Vec<Vec<Range<usize>>>,
    found: &'p mut [Vec<Taken>],
}

impl Page<'_> {
    /// Takes a range of the stream out of each of the texts that it lies in.
    fn take(&mut self, plain: Range<usize>, kind: Option<Kind>, value: &str, is_tail: bool, rank: Rank) {
        for (place, range) in self.joined.parts(plain) {
            let (index, said) = self.stream.texts[place];
            // "um" is a word in German and in Portuguese.
            let has_fillers = said.language.is_none_or(|it| ["en", "zh", "yue", "ja"].contains(&it));
            if kind.is_none() && !has_fillers {
                continue;
            }
            if let Some(range) = trimmed(said.text, &self.tokens[place], range, kind) {
                self.found[index].push(Taken { range, kind, value: value.to_owned(), is_tail, rank });
            }
        }
    }
}

/// The texts of each channel, and, if there are several channels, all texts by their time.
fn streams<'a>(said: &[Said<'a>]) -> Vec<Stream<'a>> {
    let mut by_time: Vec<(usize, Said<'a>)> =
        said.iter().copied().enumerate().filter(|(_, said)| !said.text.trim().is_empty()).collect();
    if by_time.iter().all(|(_, said)| said.begin_ms.is_some()) {
        by_time.sort_by_key(|(_, said)| (said.begin_ms, said.channel));
    }
    let place: BTreeMap<usize, usize> =
        by_time.iter().enumerate().map(|(place, (index, _))| (*index, place)).collect();
    let channels: BTreeSet<u32> = by_time.iter().map(|(_, said)| said.channel).collect();
    let stream = |texts: Vec<(usize, Said<'a>)>, rank: Rank| {
        let is_turn = |pair: &[(usize, Said)]| {
            let ((one, before), (next, after)) = (pair[0], pair[1]);
            let is_adjacent = place[&one] + 1 == place[&next];
            !is_adjacent || before.channel != after.channel || before.speaker != after.speaker
        };
        let turns = texts.windows(2).map(is_turn).collect();
        Stream { texts, rank, turns }
    };
    let of_channel = |channel: &u32| {
        by_time.iter().filter(|(_, said)| said.channel == *channel).copied().collect::<Vec<_>>()
    };
    let mut streams: Vec<Stream> =
        channels.iter().map(|channel| stream(of_channel(channel), Rank::Channel)).collect();
    if channels.len() > 1 {
        streams.push(stream(by_time.clone(), Rank::Turns));
    }
    streams
}

/// The groups of a run that are taken out because of a border: that of a partial or a piece, behind which more digits may follow or may
/// have left, or that of a turn.
fn at_border(text: &str, run: &Run, values: &[Value], stream: &Stream, edges: Edges) -> Vec<Value> {
    let count = run.digits().len();
    // "One moment, please." begins many recordings and turns.
    let is_begin = edges.begin && run.before.is_outer && (count > 1 || !edges.is_first);
    let is_outer = is_begin || edges.end && run.after.is_outer;
    let is_turn = |border: usize| stream.turns.get(border).copied().unwrap_or(false);
    let goes_over = run.groups.windows(2).any(|pair| (pair[0].text..pair[1].text).any(is_turn));
    let is_number = count > 1 || run.before.faces_token || run.after.faces_token;
    let touches = [run.before.border, run.after.border].into_iter().flatten().any(is_turn);
    let is_taken = is_outer || goes_over || touches && is_number;
    if !is_taken || count == 0 || is_price(text, run) || run.is_word(text) {
        return Vec::new();
    }
    let is_free = |index: &usize| !values.iter().any(|value| value.groups.contains(index));
    let free: Vec<usize> = (0..run.groups.len()).filter(is_free).collect();
    free.chunk_by(|one, next| one + 1 == *next)
        .map(|part| Value { kind: Kind::Digits, groups: part[0]..part[part.len() - 1] + 1 })
        .collect()
}

fn is_price(text: &str, run: &Run) -> bool {
    let before = text[..run.groups[0].range.start].trim_end_matches(' ');
    before.ends_with(['$', '€', '£', '¥'])
}

/// Where a number begins with its "+", in a sign or a word, and its bracket.
fn with_signs(text: &str, begin: usize) -> usize {
    let before = text[..begin].trim_end_matches(['(', '+']);
    before.strip_suffix("plus ").unwrap_or(before).len()
}

/// Where a phone number ends with its extension: "ext. 204".
fn with_extension(text: &str, end: usize, atoms: &[Atom]) -> usize {
    const NAMES: [&str; 6] = ["extension", "ext", "x", "内线", "分机", "内線"];
    let name = text[end..].trim_start_matches([' ', ',', '.', '、', '(']);
    let Some(number) = NAMES.iter().find_map(|known| name.strip_prefix(known)) else { return end };
    let from = atoms.partition_point(|atom| atom.range.start < text.len() - number.len());
    let number = atoms[from..].iter().take_while(|atom| matches!(atom.what, What::Number(_) | What::Between));
    number.filter(|atom| matches!(atom.what, What::Number(_))).last().map_or(end, |atom| atom.range.end)
}

/// The range without spaces and punctuation at its ends; `None` if nothing is left, or it lies inside of a token.
fn trimmed(
    text: &str,
    tokens: &[Range<usize>],
    range: Range<usize>,
    kind: Option<Kind>,
) -> Option<Range<usize>> {
    if kind.is_none() {
        return (!range.is_empty()).then_some(range);
    }
    let before = tokens[..tokens.partition_point(|token| token.start <= range.start)].last();
    if before.is_some_and(|token| token.end >= range.end) {
        return None;
    }
    let inside = &text[range.clone()];
    let is_sign = |it: char| !it.is_alphanumeric() && !"+([*#_".contains(it);
    let begin = inside.len() - inside.trim_start_matches(is_sign).len();
    let end = inside.trim_end_matches(|it: char| !it.is_alphanumeric()).len();
    (begin < end).then(|| range.start + begin..range.start + end)
}

/// Ranges that overlap as one, which the finder names that ranks first, then the longest.
fn merged(mut found: Vec<Taken>) -> Vec<Taken> {
    found.sort_by_key(|taken| (taken.range.start, usize::MAX - taken.range.end));
    let mut merged: Vec<Taken> = Vec::new();
    for taken in found {
        match merged.last_mut() {
            Some(last) if taken.range.start < last.range.end => {
                let whole = last.range.start..last.range.end.max(taken.range.end);
                let key = |it: &Taken| (it.rank, it.kind, usize::MAX - it.value.len());
                if key(&taken) < key(last) {
                    *last = taken;
                }
                last.range = whole;
            }
            _ => merged.push(taken),
        }
    }
    merged
}
