//! Finds e-mail addresses as they are written and as they are said.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::lex::is_latin;
use crate::{kana, spoken};

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
const SIGNS: [(&str, &str); 20] = [
    ("at", "@"),
    ("艾特", "@"),
    ("爱特", "@"),
    ("小老鼠", "@"),
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
    ("横杠", "-"),
    ("杠", "-"),
    ("plus", "+"),
];

pub(crate) const AT: &str =
    r"(?:@|(?-u:\b)at(?:\s+sign|\s+the\s+rate(?:\s+of)?)?(?-u:\b)|艾特|爱特|小老鼠|圈a|アットマーク|アット)";
/// Signs that only an address has: beside them katakana and Chinese digits are its letters.
pub(crate) const NATIVE_AT: &str = r"(?:艾特|爱特|小老鼠|圈a|アットマーク|アット)";
/// A dot that is said.
pub(crate) const SAID_DOT: &str = r"(?:(?-u:\b)dot(?-u:\b)|点|點|ドット)";
pub(crate) const DOT: &str = r"(?:\.|(?-u:\b)dot(?-u:\b)|点|點|ドット)";
pub(crate) const LINK: &str = r"(?:\.|_|-|\+|(?-u:\b)(?:dot|underscore|dash|hyphen|plus)(?-u:\b)|点|點|下划线|横杠|杠|ドット|アンダーバー|ハイフン)";
/// What a speaker pauses with, before and behind a sign.
pub(crate) const PAUSE: &str = r"[\s,，、]*";
pub(crate) const LABEL: &str = r"[\p{Latin}\p{N}_-]+";
pub(crate) const NATIVE_LABEL: &str = r"[\p{Latin}\p{N}_\p{Katakana}ー零一二三四五六七八九幺-]+";
/// A digit that is said: "at one six three dot com".
const DIGIT: &str = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine)";
/// What a written local part may have beside letters and digits (RFC 5322).
const LOCAL_SIGNS: &str = "._%+'/!#&*=?^`{|}~$-";
/// Words before an address: behind them the last part of a domain may be any.
const MAIL: [&str; 7] = ["email", "e-mail", "mail", "邮箱", "邮件", "メール", "郵箱"];
/// How far behind such a word an address is looked for, in bytes.
const MAIL_REACH: usize = 160;
/// The last parts of domains; spoken text has many other "at … dot …".
pub(crate) const LAST: &str = r"(?:(?:com|org|net|edu|gov|info|biz|io|co|ai|app|dev|me|tv|uk|de|fr|it|es|nl|be|at|ch|eu|us|ca|au|nz|in|cn|jp|kr|hk|tw|sg|ru|pl|se|no|dk|fi|ie|pt|br|mx)(?-u:\b)|コム|ネット|ジェーピー|シーエヌ)";
/// Those that are hardly a word: they may stand behind a full stop and a space, "at gmail. com". "We meet at noon. It is late." has no domain.
pub(crate) const LAST_APART: &str = r"(?:com|org|net|edu|gov)(?-u:\b)";
const LAST_IN_KANA: [&str; 4] = ["コム", "ネット", "ジェーピー", "シーエヌ"];

/// The part from the "at" on; its first label may be said in letters or two words.
static DOMAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let last = format!(
        r"(?:{PAUSE}{SAID_DOT}{PAUSE}{LAST}|{PAUSE}\.(?:{LAST}|{PAUSE}{LAST_APART})|\.\p{{Latin}}{{2,}})"
    );
    let more = format!(r"(?:\.{LAST}|\s*{SAID_DOT}\s*{LAST})*");
    let ways = [(AT, LABEL), (NATIVE_AT, NATIVE_LABEL)].map(|(at, label)| {
        let part = format!(r"{label}(?:\s*(?:(?:dash|hyphen)(?-u:\b)|横杠|杠|ハイフン)\s*{label})*");
        let first = format!(r"(?:(?:[\p{{Latin}}\p{{N}}]|{DIGIT})\s+)*{part}(?:\s+{label})?");
        format!(r"{PAUSE}{at}{PAUSE}{first}(?:{PAUSE}{DOT}{PAUSE}{part})*?{last}{more}")
    });
    Regex::new(&ways.join("|")).ok()
});

/// The same with any last part.
static ANY_DOMAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let ways = [(AT, LABEL, r"\p{Latin}{2,}"), (NATIVE_AT, NATIVE_LABEL, r"[\p{Latin}\p{Katakana}ー]{2,}")];
    let ways = ways.map(|(at, label, last)| {
        format!(r"\s*{at}\s*{label}(?:\s+{label})?(?:\s*{DOT}\s*{label})*(?:\.|\s*{SAID_DOT}\s*){last}")
    });
    Regex::new(&ways.join("|")).ok()
});

/// The local part, read from the "at" backwards: words with links between them.
static LOCAL: LazyLock<Option<Regex>> = LazyLock::new(|| local_of(LABEL));

/// The same before a sign that only an address has.
static NATIVE_LOCAL: LazyLock<Option<Regex>> = LazyLock::new(|| local_of(NATIVE_LABEL));

fn local_of(label: &str) -> Option<Regex> {
    Regex::new(&format!(r"(?:{label}\s*(?:{LINK}\s*)+)*{label}(?:\s*{LINK})*$")).ok()
}

/// An address that is not at its end: one with an "at", or words with a spoken link.
static BEGUN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let linked = format!(r"{LABEL}(?:\s*{LINK}\s*{LABEL})*");
    let native = format!(r"{NATIVE_LABEL}(?:\s*{LINK}\s*{NATIVE_LABEL})*");
    Regex::new(&format!(
        r"(?:{native}{PAUSE}{NATIVE_AT}(?:{PAUSE}{native})?(?:{PAUSE}{DOT})?|[\p{{Latin}}\p{{N}}%'/!_+.-]+@|{linked}{PAUSE}{AT}(?:{PAUSE}{linked})?(?:{PAUSE}{DOT})?|{LABEL}(?:\s*{LINK}\s*{LABEL})+|{LABEL}\s*{LINK})[\s.,?!]*$"
    ))
    .ok()
});

/// The addresses in a folded text.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let Some(domain) = DOMAIN.as_ref() else { return Vec::new() };
    let (mut last, mut from) = (0, 0);
    let mut found = Vec::new();
    while let Some(at) = domain.find_at(text, from) {
        let sign = Sign::of(at.as_str());
        // "mail me at john.smith@example.com": this "at" is before an address, not in it.
        if sign == Sign::Spoken && text[at.end()..].trim_start_matches(is_of_local).starts_with('@') {
            from = at.start() + at.as_str().find("at").map_or(1, |begin| begin + 1);
            continue;
        }
        if let Some(begin) = local(&text[last..at.start()], sign) {
            found.push(last + begin..at.end());
            last = at.end();
        }
        from = at.end();
    }
    found.extend(announced(text));
    found
}

/// Addresses behind a word like "email", whatever their domain ends with.
fn announced(text: &str) -> Vec<Range<usize>> {
    let mut begins: Vec<usize> =
        MAIL.iter().flat_map(|word| text.match_indices(word).map(|(at, _)| at + word.len())).collect();
    begins.sort_unstable();
    let mut found: Vec<Range<usize>> = Vec::new();
    for begin in begins {
        if found.last().is_some_and(|range| begin < range.end) {
            continue;
        }
        let end = (begin..=text.len().min(begin + MAIL_REACH)).rev().find(|at| text.is_char_boundary(*at));
        let near = &text[begin..end.unwrap_or(begin)];
        let Some(at) = ANY_DOMAIN.as_ref().and_then(|domain| domain.find(near)) else { continue };
        // "the email came at nine dot fifteen".
        let last = at.as_str().rsplit(|it: char| !it.is_alphabetic()).next().unwrap_or_default();
        let before = near[..at.start()].split_whitespace().next_back().unwrap_or_default();
        if STOP.contains(&before) || spoken::word(last).is_some() {
            continue;
        }
        if let Some(local) = local(&near[..at.start()], Sign::of(at.as_str())) {
            found.push(begin + local..begin + at.end());
        }
    }
    found
}

/// Whether a folded text has an "@", or says a sign of addresses, such as "dot".
pub(crate) fn has_sign(text: &str) -> bool {
    text.contains('@') || SIGNS.iter().any(|(name, _)| text.contains(name))
}

/// What an "at" is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Written,
    Spoken,
    /// A word that only an address has: 艾特.
    Native,
}

impl Sign {
    fn of(domain: &str) -> Sign {
        match domain.trim_start() {
            domain if domain.starts_with('@') => Sign::Written,
            domain if domain.starts_with("at") => Sign::Spoken,
            _ => Sign::Native,
        }
    }
}

fn is_of_local(it: char) -> bool {
    is_latin(it) || it.is_ascii_digit() || LOCAL_SIGNS.contains(it)
}

/// 田中アットマーク, 张三@, zhang三@: where a name of some characters at the end of a text begins, up to a verb.
fn name(near: &str) -> Option<usize> {
    let near = near.trim_end();
    let name = near.char_indices().rev().take(4);
    let name = name.take_while(|(_, it)| is_han(*it) && !"是为為叫".contains(*it));
    let begin = name.last()?.0;
    Some(near[..begin].trim_end_matches(|it| is_latin(it) || it.is_ascii_digit()).len())
}

/// Where the local part at the end of a text begins.
fn local(text: &str, sign: Sign) -> Option<usize> {
    // An address is short; the regex looks at no more than this.
    let from = near_end(text, 128);
    let near = &text[from..];
    let written = near.trim_end_matches(is_of_local).len();
    let regex = if sign == Sign::Native { &NATIVE_LOCAL } else { &LOCAL };
    let found = regex.as_ref()?.find(near);
    if sign == Sign::Written {
        let begin = found.map_or(near.len(), |found| found.start()).min(written);
        return if begin < near.len() { Some(from + begin) } else { name(near).map(|begin| from + begin) };
    }
    let is_short = |found: &regex::Match| found.len() <= 6 && found.as_str().chars().all(is_han);
    if sign == Sign::Native && found.as_ref().is_none_or(is_short) {
        return name(near).map(|begin| from + begin);
    }
    let Some(found) = found else { return name(near).map(|begin| from + begin) };
    let first = found.as_str().split_whitespace().next()?;
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
    // タナカアットマ.
    let is_named = |before: &&str| before.ends_with(kana::is_kana);
    // A sign in Chinese or Japanese may be cut: アットマ.
    let names = SIGNS.iter().map(|(name, _)| *name).filter(|name| !name.is_ascii()).chain(LAST_IN_KANA);
    let mut parts = names.flat_map(|name| name.char_indices().skip(1).map(|(at, _)| &name[..at]));
    let mut signs = ["アットマー", "アットマ", "アット", "アッ"].iter();
    let named = signs.find_map(|part| text.strip_suffix(*part).filter(is_named)).and_then(|before| {
        let name = NATIVE_LOCAL.as_ref()?.find(&before[near_end(before, 128)..])?;
        Some(near_end(before, 128) + name.start())
    });
    let whole = parts.find_map(|part| text.strip_suffix(part).filter(is_near)).unwrap_or(text);
    let is_word = |begin: &usize| text[*begin..].chars().any(char::is_alphabetic);
    let word = last_word(whole).filter(is_word);
    let cut = begun(text).into_iter().chain(begun(whole)).chain(word).chain(named).min()?;
    // The last word may have been a sign: "john dot doe a".
    let before = text[..cut].trim_end();
    let is_whole = find(before).iter().any(|address| address.end == before.len());
    if is_whole { Some(cut) } else { Some(begun(before).unwrap_or(cut)) }
}

/// Where the address begins that the end of a text may be in the middle of.
fn begun(text: &str) -> Option<usize> {
    let from = near_end(text, 256);
    BEGUN.as_ref()?.find(&text[from..]).map(|found| from + found.start())
}

fn is_han(character: char) -> bool {
    matches!(character, '\u{4E00}'..='\u{9FFF}' | '々')
}

/// A place so many bytes before the end of a text.
pub(crate) fn near_end(text: &str, bytes: usize) -> usize {
    let from = text.len().saturating_sub(bytes);
    (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Where the last word of a text begins, if it is written in letters of a script with spaces.
fn last_word(text: &str) -> Option<usize> {
    let trimmed = text.trim_end_matches(|it: char| !it.is_alphanumeric());
    let is_of_word = |it: char| it.is_alphanumeric() && (it as u32) < 0x0E00 || "._-+@'%/!".contains(it);
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
    let text = ["at the rate of", "at the rate", "at sign"]
        .iter()
        .fold(text.to_owned(), |text, at| text.replace(at, "at"));
    let spoken: String =
        text.split([' ', '\n', ',', '，', '、']).filter(|word| !word.is_empty()).map(sign).collect();
    SIGNS
        .iter()
        .filter(|(name, _)| !name.is_ascii())
        .fold(spoken, |text, (name, sign)| text.replace(name, sign))
}
