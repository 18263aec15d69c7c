//! Finds e-mail addresses as they are written and as they are said.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::lex::is_latin;

/// Words before the "at" of a spoken address that are no part of it.
const STOP: [&str; 62] = [
    "is", "are", "was", "be", "it's", "its", "it", "to", "my", "your", "his", "her", "their", "our", "the",
    "a", "an", "and", "or", "email", "mail", "e-mail", "address", "at", "me", "you", "us", "him", "them",
    "we", "i", "he", "she", "they", "can", "could", "please", "reach", "write", "send", "contact", "that",
    "this", "yes", "no", "ok", "okay", "so", "um", "uh", "well", "of", "for", "on", "in", "with", "from",
    "under", "via", "would", "will", "that's",
];
/// Words before an "at" that make it a place: "look at example dot com".
const PLACE: [&str; 12] = [
    "look",
    "us",
    "website",
    "page",
    "site",
    "online",
    "shop",
    "available",
    "found",
    "looking",
    "store",
    "visit",
];
/// How many words of a name without "dot" between them are taken as one local part.
const MOST_WORDS: usize = 3;

/// What signs are called.
const SIGNS: [(&str, &str); 16] = [
    ("at", "@"),
    ("艾特", "@"),
    ("圈a", "@"),
    ("アットマーク", "@"),
    ("アット", "@"),
    ("dot", "."),
    ("点", "."),
    ("點", "."),
    ("ドット", "."),
    ("underscore", "_"),
    ("下划线", "_"),
    ("アンダーバー", "_"),
    ("dash", "-"),
    ("hyphen", "-"),
    ("ハイフン", "-"),
    ("plus", "+"),
];

const AT: &str = r"(?:@|(?-u:\b)at(?-u:\b)|艾特|圈a|アットマーク|アット)";
const DOT: &str = r"(?:\.|(?-u:\b)dot(?-u:\b)|点|點|ドット)";
const LINK: &str = r"(?:\.|_|-|\+|(?-u:\b)(?:dot|underscore|dash|hyphen|plus)(?-u:\b)|点|點|下划线|ドット|アンダーバー|ハイフン)";
const LABEL: &str = r"[\p{Latin}\p{N}_-]+";
/// The last parts of domains; spoken text has many other "at … dot …".
const LAST: &str = r"(?:(?:com|org|net|edu|gov|info|biz|io|co|ai|app|dev|me|tv|uk|de|fr|it|es|nl|be|at|ch|eu|us|ca|au|nz|in|cn|jp|kr|hk|tw|sg|ru|pl|se|no|dk|fi|ie|pt|br|mx)(?-u:\b)|コム|ネット|ジェーピー|シーエヌ)";
const LAST_IN_KANA: [&str; 4] = ["コム", "ネット", "ジェーピー", "シーエヌ"];

/// The part from the "at" on; its first label may be said in letters or two words.
static DOMAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let part = format!(r"{LABEL}(?:\s*(?:dash|hyphen)(?-u:\b)\s*{LABEL})*");
    let first = format!(r"(?:[\p{{Latin}}\p{{N}}]\s+)*{part}(?:\s+{LABEL})?");
    let last = format!(r"(?:\s*{DOT}\s*{LAST}|\.\p{{Latin}}{{2,}})");
    Regex::new(&format!(r"\s*{AT}\s*{first}(?:\s*{DOT}\s*{part})*?{last}(?:\s*{DOT}\s*{LAST})*")).ok()
});

/// The local part, read from the "at" backwards: words with links between them.
static LOCAL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"(?:{LABEL}\s*(?:{LINK}\s*)+)*{LABEL}(?:\s*{LINK})*$")).ok());

/// An address that is not at its end: one with an "at", or words with a spoken link.
static BEGUN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let linked = format!(r"{LABEL}(?:\s*{LINK}\s*{LABEL})*");
    Regex::new(&format!(
        r"(?:{linked}\s*{AT}(?:\s*{linked})?(?:\s*{DOT})?|{LABEL}(?:\s*{LINK}\s*{LABEL})+|{LABEL}\s*{LINK})[\s.,?!]*$"
    ))
    .ok()
});

/// The addresses in a folded text.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let Some(domain) = DOMAIN.as_ref() else { return Vec::new() };
    let mut last = 0;
    let mut found = Vec::new();
    for at in domain.find_iter(text) {
        let is_written = at.as_str().trim_start().starts_with('@');
        if let Some(begin) = local(&text[last..at.start()], is_written) {
            found.push(last + begin..at.end());
            last = at.end();
        }
    }
    found
}

/// Where the local part at the end of a text begins.
fn local(text: &str, is_written: bool) -> Option<usize> {
    // An address is short; the regex looks at no more than this.
    let from = (text.len().saturating_sub(128)..=text.len()).find(|at| text.is_char_boundary(*at))?;
    let near = &text[from..];
    let found = LOCAL.as_ref()?.find(near)?;
    let first = found.as_str().split_whitespace().next()?;
    if is_written {
        return Some(from + found.start());
    }
    if found.as_str() == first && PLACE.contains(&first) {
        return None;
    }
    // "j o h n at", "john smith at": words before it, unless they belong to the sentence.
    let mut begin = found.start();
    let mut words = 0;
    let mut is_letter = first.len() == 1;
    let mut is_linked = false;
    loop {
        let before = near[..begin].trim_end_matches([' ', '\n']);
        let is_next = before.len() < begin;
        let word = before
            .rsplit(|it: char| !(is_latin(it) || it.is_ascii_digit() || it == '\''))
            .next()
            .unwrap_or_default();
        let is_link = ["dot", "underscore", "dash", "hyphen", "plus"].contains(&word);
        // "a" and "i" are letters where letters are said.
        is_letter = word.len() == 1 && (is_letter || word != "i" && word != "a");
        let is_part = is_letter || is_link || is_linked || words < MOST_WORDS && !STOP.contains(&word);
        if !is_next || word.is_empty() || !word.is_ascii() || !is_part {
            return Some(from + begin);
        }
        words += usize::from(!is_letter && !is_link);
        is_linked = is_link;
        begin = before.len() - word.len();
    }
}

/// Where the part of a partial begins that must wait: an address that is not at its end, and the last word, which may become one.
pub(crate) fn unfinished(text: &str) -> Option<usize> {
    let is_near = |before: &&str| last_word(before).is_some() || begun(before).is_some();
    // A sign in Chinese or Japanese may be cut: アットマ.
    let names = SIGNS.iter().map(|(name, _)| *name).filter(|name| !name.is_ascii()).chain(LAST_IN_KANA);
    let mut parts = names.flat_map(|name| name.char_indices().skip(1).map(|(at, _)| &name[..at]));
    let whole = parts.find_map(|part| text.strip_suffix(part).filter(is_near)).unwrap_or(text);
    let is_word = |begin: &usize| text[*begin..].chars().any(char::is_alphabetic);
    let word = last_word(whole).filter(is_word);
    let cut = begun(text).into_iter().chain(begun(whole)).chain(word).min()?;
    // The last word may have been a sign: "john dot doe a".
    let before = text[..cut].trim_end();
    let is_whole = find(before).last().is_some_and(|address| address.end == before.len());
    if is_whole { Some(cut) } else { Some(begun(before).unwrap_or(cut)) }
}

/// Where the address begins that the end of a text may be in the middle of.
fn begun(text: &str) -> Option<usize> {
    let from = (text.len().saturating_sub(256)..=text.len()).find(|at| text.is_char_boundary(*at))?;
    BEGUN.as_ref()?.find(&text[from..]).map(|found| from + found.start())
}

/// Where the last word of a text begins, if it is written in letters of a script with spaces.
fn last_word(text: &str) -> Option<usize> {
    let trimmed = text.trim_end_matches(|it: char| !it.is_alphanumeric());
    let is_of_word = |it: char| it.is_alphanumeric() && (it as u32) < 0x0E00 || "._-+@'".contains(it);
    let begin = trimmed.trim_end_matches(is_of_word).len();
    (begin < trimmed.len()).then_some(begin)
}

/// An address as one value: links as they are written.
pub(crate) fn normalized(text: &str) -> String {
    let sign = |word: &str| {
        SIGNS
            .iter()
            .find(|(name, _)| *name == word)
            .map_or_else(|| word.to_owned(), |(_, sign)| (*sign).to_owned())
    };
    let spoken: String = text.split_whitespace().map(sign).collect();
    SIGNS
        .iter()
        .filter(|(name, _)| !name.is_ascii())
        .fold(spoken, |text, (name, sign)| text.replace(name, sign))
}
