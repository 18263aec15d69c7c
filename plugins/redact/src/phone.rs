//! Tells phone numbers from other numbers.

use std::ops::{Range, RangeInclusive};
use std::sync::LazyLock;

use regex::Regex;

use crate::context::{Context, context, is_called};
use crate::numbers::Value;
use crate::runs::{Group, digits};
use crate::token::Kind;

/// Digits of a phone number: E.164 has up to 15; with fewer than 7 a number is local to an exchange.
const PHONE: RangeInclusive<usize> = 7..=15;
/// With so many digits a number has its area code, and what stands beside it is another number.
const COMPLETE: usize = 9;

/// The most digits of usual numbers with the 0 before the area code.
const LONG_TRUNK: usize = 11;

/// The groups between commas, full stops, words and borders.
pub(crate) fn items(text: &str, groups: &[Group]) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut begin = 0;
    for index in 1..=groups.len() {
        let is_end = index == groups.len() || {
            let gap = &text[groups[index - 1].range.end..groups[index].range.start];
            let is_tight = gap.chars().all(|it| " -./()+:・･ーｰ".contains(it)) && !gap.contains(". ");
            let is_thousands = gap == ",";
            let is_dash = ["dash", "hyphen", "dot", "の", "ハイフン"].contains(&gap.trim());
            !(is_tight || is_thousands || is_dash)
        };
        if is_end {
            items.push(begin..index);
            begin = index;
        }
    }
    items
}

/// Whether the groups are dates, times, years, amounts: each between two spaces by itself.
pub(crate) fn is_innocent(text: &str, groups: &[Group]) -> bool {
    static SHAPE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let shapes = [
            r"(?:19|20)\d\d(?:[-/](?:19|20)?\d\d)?", // a year, two years
            r"(?:19|20)\d\d[-/.](?:0?\d|1[0-2])[-/.](?:[0-2]?\d|3[01])", // 2026-05-31
            r"(?:[0-2]?\d|3[01])[-/.](?:[0-2]?\d|3[01])[-/.](?:19|20)?\d\d", // 31.5.2026, 5/31/26
            r"[0-2]?\d:[0-5]\d(?::[0-5]\d)?",        // 10:30
            r"\d{1,3}(?:,\d{3}){1,3}(?:\.\d{1,2})?", // 1,234,567.89
            r"\d{1,6}[.,]\d{1,2}",                   // 19.99
        ];
        Regex::new(&format!("^(?:{})$", shapes.join("|"))).ok()
    });
    groups.iter().all(|group| group.number.is_written)
        && SHAPE
            .as_ref()
            .is_some_and(|shape| written(text, groups).split_whitespace().all(|part| shape.is_match(part)))
}

fn written<'t>(text: &'t str, groups: &[Group]) -> &'t str {
    match (groups.first(), groups.last()) {
        (Some(first), Some(last)) => &text[first.range.start..last.range.end],
        _ => "",
    }
}

/// Whether the groups are a number with a "+".
pub(crate) fn is_international(text: &str, groups: &[Group]) -> bool {
    let before = text[..groups[0].range.start].trim_end_matches([' ', '(']);
    let has_plus = before.ends_with('+') || before.ends_with("plus");
    has_plus && PHONE.contains(&digits(groups).len())
}

/// The phone numbers in a run: an item each, or the items of a number that is said slowly or split over two texts.
pub(crate) fn phones(text: &str, groups: &[Group]) -> Vec<Value> {
    let items = items(text, groups);
    let is_alone = |index: usize| {
        let item = &groups[items[index].clone()];
        // 0049, 151 23456789: an area code in front belongs to it.
        let is_code = index > 0 && {
            let before = digits(&groups[items[index - 1].clone()]);
            before.starts_with('0') && before.len() <= 5
        };
        // The border of a text may be anywhere in a number, and one with a 0 may go on after a pause.
        let is_cut = [index.checked_sub(1), Some(index + 1)].into_iter().flatten().any(|other| {
            let other = items.get(other).map(|other| &groups[other.clone()]);
            other.is_some_and(|other| {
                let count = digits(item).len() + digits(other).len();
                let is_border = other[0].text != item[0].text;
                is_border && PHONE.contains(&count) || digits(item).starts_with('0') && count <= LONG_TRUNK
            })
        });
        let is_complete = digits(item).len() >= COMPLETE && is_phone(text, item) && is_exact(text, item);
        // "call 201.55" and, in the next text, "5.2418": the border lies in a number that looks like an amount there.
        let is_split = groups[0].text != groups[groups.len() - 1].text
            && context(text, item[0].range.start) == Context::Phone;
        is_date(text, item) && !is_split || is_complete && !is_code && !is_cut
    };
    let mut found = Vec::new();
    let mut begin = 0;
    while begin < items.len() {
        let is_one = is_alone(begin);
        let end = match is_one {
            true => begin + 1,
            false => (begin + 1..items.len()).find(|index| is_alone(*index)).unwrap_or(items.len()),
        };
        let stretch = &items[begin..end];
        match is_joined(text, groups, stretch) {
            true => found.push(stretch[0].start..stretch[stretch.len() - 1].end),
            false => {
                found.extend(stretch.iter().filter(|item| is_phone(text, &groups[(*item).clone()])).cloned());
            }
        }
        begin = end;
    }
    found.into_iter().map(|groups| Value { kind: Kind::Phone, groups }).collect()
}

/// Whether items are one number: "555, 123, 4567", but not "25000 and 35000".
fn is_joined(text: &str, groups: &[Group], items: &[Range<usize>]) -> bool {
    let whole = &groups[items[0].start..items[items.len() - 1].end];
    if items.len() < 2 || !is_phone(text, whole) {
        return false;
    }
    let item = |item: &Range<usize>| &groups[item.clone()];
    let (alone, others): (Vec<_>, Vec<_>) = items.iter().map(item).partition(|item| is_phone(text, item));
    let is_plain = |item: &[Group]| item.len() == 1 && item[0].number.is_written;
    if !alone.is_empty() {
        return !others.is_empty()
            && (is_exact(text, whole) || !others.iter().all(|item| is_innocent(text, item)));
    }
    // "I called between 2011 and 2023".
    let is_year = |item: &&[Group]| is_plain(item) && is_innocent(text, item) && digits(item).len() == 4;
    if others.iter().all(is_year) {
        return false;
    }
    if context(text, whole[0].range.start) == Context::Phone {
        return true;
    }
    let is_large = |item: &&[Group]| is_plain(item) && digits(item).len() > 4;
    let is_split = whole[0].text != whole[whole.len() - 1].text;
    if others.iter().all(is_large) && !is_split && !is_strong(text, whole) {
        return false;
    }
    // "1870, 586 and 1834 of them".
    let gaps = items
        .windows(2)
        .map(|pair| &text[groups[pair[0].end - 1].range.end..groups[pair[1].start].range.start]);
    if others.iter().all(|item| is_plain(item))
        && gaps.into_iter().any(|gap| ["and", "和", "と"].contains(&gap.trim_matches([' ', ','])))
    {
        return false;
    }
    let is_small = |item: &&[Group]| is_plain(item) && digits(item).len() <= 2 && !has_zero(item);
    let is_amount = |item: &&[Group]| {
        let is_price = is_innocent(text, item) && !has_zero(item);
        is_small(item) || is_price || is_round(item)
    };
    !others.iter().all(is_amount) || others.iter().all(is_small)
}

/// 02, 0575: no amount begins so, but 0.5 does.
fn has_zero(groups: &[Group]) -> bool {
    let first = &groups[0].number.digits;
    first.len() > 1 && first.starts_with('0')
}

/// 25000, "two thousand".
fn is_round(groups: &[Group]) -> bool {
    groups.iter().all(|group| {
        let digits = &group.number.digits;
        digits.len() >= 3 && !digits.starts_with('0') && digits.ends_with("00")
    })
}

/// A date, a time or a price, which no number goes on with.
fn is_date(text: &str, groups: &[Group]) -> bool {
    let written = written(text, groups);
    let is_number = written.starts_with('0') && written[1..].starts_with(|it: char| it.is_ascii_digit());
    !is_number && written.contains([':', '/', '.', '-']) && is_innocent(text, groups)
}

fn is_phone(text: &str, groups: &[Group]) -> bool {
    if is_international(text, groups) {
        return true;
    }
    let count = digits(groups).len();
    if is_innocent(text, groups) || !PHONE.contains(&count) {
        return false;
    }
    if is_strong(text, groups) {
        return true;
    }
    match context(text, groups[0].range.start) {
        Context::Phone => true,
        Context::Order => false,
        Context::None => {
            let end = groups[groups.len() - 1].range.end;
            has_length(groups) || is_grouped(text, groups) || is_called(&text[end..])
        }
    }
}

/// Whether the groups have a form that other numbers hardly have, whatever the words before them are.
pub(crate) fn is_strong(text: &str, groups: &[Group]) -> bool {
    let (begin, end) = (groups[0].range.start, groups[0].range.end);
    let lengths = lengths(groups);
    let has_bracket = text[..begin].ends_with('(') && text[end..].starts_with(')');
    let is_written = groups.iter().all(|group| group.number.is_written);
    let has_area = (2..=5).contains(&lengths.len()) && lengths[1..].iter().all(|length| *length > 1);
    let is_america = matches!(lengths[..], [3, 3, 4] | [1, 3, 3, 4]);
    PHONE.contains(&lengths.iter().sum())
        && (has_bracket || is_china(groups) || is_written && (has_area && is_trunk(groups) || is_america))
}

fn is_exact(text: &str, groups: &[Group]) -> bool {
    is_international(text, groups) || is_strong(text, groups) || has_length(groups)
}

/// Whether the digits are as many as phone numbers have that begin like them.
fn has_length(groups: &[Group]) -> bool {
    let all = digits(groups);
    let digit = |place: usize| all.as_bytes()[place];
    let is_america =
        all.len() == 10 && digit(0) >= b'2' || all.len() == 11 && digit(0) == b'1' && digit(1) >= b'2';
    is_trunk(groups) || is_china(groups) || is_america
}

fn is_grouped(text: &str, groups: &[Group]) -> bool {
    let lengths = lengths(groups);
    let gap = groups.get(1).map_or("", |next| &text[groups[0].range.end..next.range.start]);
    matches!(lengths[..], [3, 3, 4] | [1, 3, 3, 4] | [3, 3, 3])
        || lengths[..] == [3, 4] && matches!(gap, "-" | "." | "ー" | "ｰ" | "・" | "･")
        || lengths.len() >= 3
            && lengths.iter().sum::<usize>() >= 10
            && lengths.iter().all(|length| (2..=4).contains(length))
}

fn lengths(groups: &[Group]) -> Vec<usize> {
    groups.iter().map(|group| group.number.digits.len()).collect()
}

/// A number with the 0 before the area code, or the 00 before the country.
fn is_trunk(groups: &[Group]) -> bool {
    let all = digits(groups);
    let most = if all.starts_with("00") { *PHONE.end() } else { 13 };
    all.starts_with('0') && (COMPLETE..=most).contains(&all.len())
}

/// A mobile number of China.
fn is_china(groups: &[Group]) -> bool {
    let all = digits(groups);
    all.len() == 11 && all.starts_with('1') && all.as_bytes()[1] >= b'3'
}
