//! Tells what a run of digits is: a card, a phone number, digits, or a number that may stay.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::runs::{Group, Run, digits};
use crate::token::Kind;

/// Digits of a card's number: ISO/IEC 7812 has up to 19, cards in use have 13 and more.
const CARD: Range<usize> = 13..20;
/// Digits of a phone number: E.164 has up to 15; with fewer than 7 a number is local to an exchange.
const PHONE: std::ops::RangeInclusive<usize> = 7..=15;
/// The most groups of a run that is searched for numbers: a longer one is taken out whole, so that the time stays proportional to the text.
const LONGEST_RUN: usize = 256;
/// How far before a number the words are that tell what it is, in bytes: some ten words.
const CONTEXT: usize = 64;

/// A value in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    /// The groups of the run.
    pub(crate) groups: Range<usize>,
}

/// Which finders are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Finders {
    pub(crate) card: bool,
    pub(crate) phone: bool,
    pub(crate) iban: bool,
    pub(crate) digits: bool,
}

/// The values in a run.
pub(crate) fn values(text: &str, run: &Run, finders: Finders) -> Vec<Value> {
    let all = 0..run.groups.len();
    let length = run.digits().len();
    if all.len() > LONGEST_RUN {
        let kind = if finders.card { Kind::Card } else { Kind::Digits };
        return vec![Value { kind, groups: all }];
    }
    if finders.phone && has_plus(text, &run.groups) && PHONE.contains(&length) {
        return vec![Value { kind: Kind::Phone, groups: all }];
    }
    if finders.card && length >= CARD.start {
        if card_window(&run.groups).is_some() {
            return cards(&run.groups, all);
        }
        let phones = if finders.phone { phones(text, run) } else { Vec::new() };
        let is_explained = items(text, &run.groups).into_iter().all(|item| {
            phones.iter().any(|phone| phone.groups == item) || is_innocent(text, &run.groups[item])
        });
        return match is_explained {
            true if !finders.digits => phones,
            _ => vec![Value { kind: Kind::Card, groups: all }],
        };
    }
    let phones = if finders.phone { phones(text, run) } else { Vec::new() };
    if !finders.digits {
        return phones;
    }
    let is_phone = |index: &usize| phones.iter().any(|phone| phone.groups.contains(index));
    let rest: Vec<usize> = all.filter(|index| !is_phone(index)).collect();
    let mut values = phones.clone();
    for part in rest.chunk_by(|one, next| one + 1 == *next) {
        let groups = part[0]..part[part.len() - 1] + 1;
        let is_quantity = run.groups[groups.clone()]
            .iter()
            .all(|group| group.number.is_quantity || group.number.digits.len() < 3 && has_quantity(run));
        if digits(&run.groups[groups.clone()]).len() >= 4 && !is_quantity {
            values.push(Value { kind: Kind::Digits, groups });
        }
    }
    values
}

fn has_quantity(run: &Run) -> bool {
    run.groups.iter().any(|group| group.number.is_quantity)
}

/// A part of a run with a card: the cards by their check digits, and what is said with them, an expiry date or a check number.
fn cards(groups: &[Group], part: Range<usize>) -> Vec<Value> {
    if part.is_empty() {
        return Vec::new();
    }
    let Some(window) = card_window(&groups[part.clone()]) else {
        let is_card = digits(&groups[part.clone()]).len() >= CARD.start;
        return vec![Value { kind: if is_card { Kind::Card } else { Kind::Digits }, groups: part }];
    };
    let window = part.start + window.start..part.start + window.end;
    let mut found = cards(groups, part.start..window.start);
    found.push(Value { kind: Kind::Card, groups: window.clone() });
    found.extend(cards(groups, window.end..part.end));
    found
}

/// The groups that are a card's number by its check digit; the usual lengths first.
fn card_window(groups: &[Group]) -> Option<Range<usize>> {
    for wanted in [16, 15, 14, 13, 19, 18, 17] {
        for begin in 0..groups.len() {
            let mut length = 0;
            let end = (begin..groups.len()).find(|end| {
                length += groups[*end].number.digits.len();
                length >= wanted
            });
            let Some(end) = end else { break };
            if length == wanted && is_luhn(&digits(&groups[begin..=end])) {
                return Some(begin..end + 1);
            }
        }
    }
    None
}

/// The check of ISO/IEC 7812-1.
fn is_luhn(digits: &str) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let digits = digits.bytes().rev().map(|digit| u32::from(digit - b'0'));
    let sum: u32 =
        digits.enumerate().map(|(place, digit)| if place % 2 == 1 { doubled(digit) } else { digit }).sum();
    sum.is_multiple_of(10)
}

/// The groups between commas, full stops, words and borders.
fn items(text: &str, groups: &[Group]) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let mut begin = 0;
    for index in 1..=groups.len() {
        let is_end = index == groups.len() || {
            let gap = &text[groups[index - 1].range.end..groups[index].range.start];
            let is_tight = gap.chars().all(|it| " -./()+:".contains(it)) && !gap.contains(". ");
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
fn is_innocent(text: &str, groups: &[Group]) -> bool {
    static SHAPE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let shapes = [
            r"(?:19|20)\d\d(?:[-/](?:19|20)?\d\d)?", // a year, two years
            r"(?:19|20)\d\d[-/.](?:0?\d|1[0-2])[-/.](?:[0-2]?\d|3[01])", // 2026-05-31
            r"(?:[0-2]?\d|3[01])[-/.](?:[0-2]?\d|3[01])[-/.](?:19|20)?\d\d", // 31.5.2026, 5/31/26
            r"[0-2]?\d:[0-5]\d(?::[0-5]\d)?",        // 10:30
            r"\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?",     // 1,234,567.89
            r"\d{1,6}[.,]\d{1,2}",                   // 19.99
        ];
        Regex::new(&format!("^(?:{})$", shapes.join("|"))).ok()
    });
    let text = match (groups.first(), groups.last()) {
        (Some(first), Some(last)) => &text[first.range.start..last.range.end],
        _ => return true,
    };
    groups.iter().all(|group| group.number.is_written)
        && SHAPE.as_ref().is_some_and(|shape| text.split_whitespace().all(|part| shape.is_match(part)))
}

/// The phone numbers in a run: an item each, or all items of a number that is said slowly.
fn phones(text: &str, run: &Run) -> Vec<Value> {
    let items = items(text, &run.groups);
    let phone = |groups: Range<usize>| Value { kind: Kind::Phone, groups };
    let found: Vec<Value> = items
        .iter()
        .filter(|item| is_phone(text, &run.groups[(*item).clone()]))
        .map(|item| phone(item.clone()))
        .collect();
    if !found.is_empty() || items.len() == 1 {
        return found;
    }
    // A number that is said slowly has commas between short groups; "25000 and 35000" is none.
    let is_slow = items.iter().all(|item| digits(&run.groups[item.clone()]).len() <= 4);
    let is_known = context(text, run.groups[0].range.start) == Context::Phone;
    match (is_slow || is_known) && is_phone(text, &run.groups) {
        true => vec![phone(0..run.groups.len())],
        false => Vec::new(),
    }
}

fn is_phone(text: &str, groups: &[Group]) -> bool {
    let all = digits(groups);
    let count = all.len();
    let begin = groups[0].range.start;
    if has_plus(text, groups) {
        return PHONE.contains(&count);
    }
    if is_innocent(text, groups) || !PHONE.contains(&count) {
        return false;
    }
    match context(text, begin) {
        Context::Phone => return true,
        Context::Order => return false,
        Context::None => {}
    }
    let lengths: Vec<usize> = groups.iter().map(|group| group.number.digits.len()).collect();
    let digit = |place: usize| all.as_bytes()[place];
    let gap = groups.get(1).map_or("", |next| &text[groups[0].range.end..next.range.start]);
    let has_bracket = text[..begin].ends_with('(') && text[groups[0].range.end..].starts_with(')');
    let is_trunk = all.starts_with('0') && (9..=13).contains(&count);
    let is_china = count == 11 && digit(0) == b'1' && digit(1) >= b'3';
    let is_america = count == 10 && digit(0) >= b'2' || count == 11 && digit(0) == b'1' && digit(1) >= b'2';
    let is_grouped = matches!(lengths[..], [3, 3, 4] | [1, 3, 3, 4] | [3, 3, 3])
        || lengths[..] == [3, 4] && matches!(gap, "-" | ".")
        || lengths.len() >= 3 && count >= 10 && lengths.iter().all(|length| (2..=4).contains(length));
    has_bracket || is_trunk || is_china || is_america || is_grouped
}

fn has_plus(text: &str, groups: &[Group]) -> bool {
    let before = text[..groups[0].range.start].trim_end_matches([' ', '(']);
    before.ends_with('+') || before.ends_with("plus")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Phone,
    Order,
    None,
}

/// What the words before a number tell of it; the nearest word counts.
fn context(text: &str, at: usize) -> Context {
    const PHONE: [&str; 24] = [
        "phone",
        "call",
        "mobile",
        "cell",
        "tel",
        "contact",
        "fax",
        "whatsapp",
        "reach",
        "text me",
        "dial",
        "电话",
        "手机",
        "座机",
        "联系",
        "拨打",
        "致电",
        "传真",
        "電話",
        "携帯",
        "連絡",
        "ファックス",
        "番通報",
        "ケータイ",
    ];
    const ORDER: [&str; 42] = [
        "order",
        "invoice",
        "ticket",
        "case",
        "reference",
        "tracking",
        "confirmation",
        "booking",
        "policy",
        "item",
        "product",
        "part number",
        "serial",
        "model",
        "article",
        "sku",
        "batch",
        "shipment",
        "parcel",
        "claim",
        "contract",
        "receipt",
        "version",
        "isbn",
        "订单",
        "单号",
        "编号",
        "工单",
        "票号",
        "快递",
        "运单",
        "发票",
        "序列",
        "型号",
        "注文",
        "伝票",
        "受付",
        "予約",
        "請求",
        "商品",
        "管理",
        "追跡",
    ];
    let begin = (at.saturating_sub(CONTEXT)..=at).find(|place| text.is_char_boundary(*place)).unwrap_or(at);
    let before = &text[begin..at];
    let last = |words: &[&str]| words.iter().filter_map(|word| before.rfind(word)).max();
    match (last(&PHONE), last(&ORDER)) {
        (Some(phone), order) if order.is_none_or(|order| phone > order) => Context::Phone,
        (_, Some(_)) => Context::Order,
        _ => Context::None,
    }
}
