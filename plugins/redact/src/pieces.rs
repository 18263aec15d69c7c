//! What touches the border of a piece and may be a part of an address. A piece is stored before the next one is known, so such a part is taken
//! out at once.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::email::{
    AT, DOT, LABEL, LAST, LAST_APART, LINK, NATIVE_AT, NATIVE_LABEL, PAUSE, SAID_DOT, near_end,
};

/// Links that are hardly said outside of addresses.
const SURE_LINK: &str = r"(?:(?-u:\b)(?:dot|underscore)(?-u:\b)|下划线|ドット|アンダーバー)";

/// The end of a piece within an address: "john.doe@", "john dot doe at example", "zhangsan艾特qq点".
static END: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let linked = format!(r"{LABEL}(?:\s*{LINK}\s*{LABEL})*");
    let native = format!(r"{NATIVE_LABEL}(?:{PAUSE}{DOT}{PAUSE}{NATIVE_LABEL})*");
    let name = format!(r"{LABEL}(?:{PAUSE}{SURE_LINK}{PAUSE}{LABEL})*");
    Regex::new(&format!(
        r"(?:{native}{PAUSE}{NATIVE_AT}(?:{PAUSE}{native})?(?:{PAUSE}{DOT})?|[\p{{Latin}}\p{{N}}%'/!_+.-]+@[\p{{Latin}}\p{{N}}.-]*|{name}{PAUSE}{SURE_LINK}(?:{PAUSE}(?:{LABEL}(?:{PAUSE}{AT}(?:{PAUSE}{linked})?(?:{PAUSE}{DOT})?)?))?)[\s.,?!]*$"
    ))
    .ok()
});

/// The name of a site, which has no local part: "hark dot io".
static SITE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"^{LABEL}{PAUSE}{SAID_DOT}{PAUSE}{LAST}[\s.,?!]*$")).ok());

/// The end of a piece behind words that announce an address: "my email is john".
static ANNOUNCED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?:e-?mail(?:\s+address)?\s+is|mail\s+(?:me|us)\s+at|(?:邮箱|邮件|郵箱)(?:地址)?(?:是|為)|メール(?:アドレス)?は)[\s:,]*([^\s.?!。？！][^.?!。？！]{0,64})[\s.,?!]*$",
    )
    .ok()
});

/// The begin of a piece within an address: "at example dot com", "example.com", "dot com".
static BEGIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let last = format!(r"(?:{PAUSE}{SAID_DOT}{PAUSE}{LAST}|{PAUSE}\.(?:{LAST}|{PAUSE}{LAST_APART}))");
    let part = format!(r"(?:{LABEL}|{NATIVE_LABEL})");
    let domain = format!(r"{part}(?:\s+{LABEL})?(?:{PAUSE}{DOT}{PAUSE}{part})*?{last}");
    Regex::new(&format!(
        r"^[\s.,、，]*(?:(?:{LINK}{PAUSE})?(?:{AT}{PAUSE})?{domain}|@[\p{{Latin}}\p{{N}}.-]+|{SAID_DOT}{PAUSE}{LAST})"
    ))
    .ok()
});

/// The part of an address at the end of a folded text.
pub(crate) fn at_end(text: &str) -> Option<Range<usize>> {
    let from = near_end(text, 256);
    let near = &text[from..];
    let announced = ANNOUNCED.as_ref()?.captures(near).and_then(|found| found.get(1));
    let is_site = |found: &regex::Match| SITE.as_ref().is_some_and(|site| site.is_match(found.as_str()));
    let begun = END.as_ref()?.find(near).filter(|found| !is_site(found));
    let begin = announced.into_iter().chain(begun).map(|found| found.start()).min()?;
    Some(from + begin..text.len())
}

/// The part of an address at the begin of a folded text.
pub(crate) fn at_begin(text: &str) -> Option<Range<usize>> {
    let end = near_begin(text, 256);
    BEGIN.as_ref()?.find(&text[..end]).map(|found| 0..found.end())
}

/// A place so many bytes behind the begin of a text.
fn near_begin(text: &str, bytes: usize) -> usize {
    (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
