//! Tells what a run of digits is: a card, a phone number, digits, or a number that may stay.

use std::ops::Range;

use crate::phone::{self, is_innocent, items, phones};
use crate::runs::{Group, Run, digits};
use crate::token::Kind;

/// Digits of a card's number: ISO/IEC 7812 has up to 19, cards in use have 13 and more.
pub(crate) const CARD: Range<usize> = 13..20;
/// The most groups of a run that is searched for numbers: a longer one is taken out whole, so that the time stays proportional to the text.
const LONGEST_RUN: usize = 256;

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
    if finders.phone && phone::is_international(text, &run.groups) {
        return vec![Value { kind: Kind::Phone, groups: all }];
    }
    if finders.card && length >= CARD.start {
        if card_window(text, &run.groups).is_some() {
            return cards(text, &run.groups, all);
        }
        let phones = if finders.phone { phones(text, &run.groups) } else { Vec::new() };
        let is_explained = items(text, &run.groups).into_iter().all(|item| {
            let is_of = |phone: &Value| phone.groups.start <= item.start && item.end <= phone.groups.end;
            phones.iter().any(is_of) || is_innocent(text, &run.groups[item.clone()])
        });
        return match is_explained {
            true if !finders.digits => phones,
            _ => vec![Value { kind: Kind::Card, groups: all }],
        };
    }
    let phones = if finders.phone { phones(text, &run.groups) } else { Vec::new() };
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
fn cards(text: &str, groups: &[Group], part: Range<usize>) -> Vec<Value> {
    if part.is_empty() {
        return Vec::new();
    }
    let Some(window) = card_window(text, &groups[part.clone()]) else {
        let is_card = digits(&groups[part.clone()]).len() >= CARD.start;
        return vec![Value { kind: if is_card { Kind::Card } else { Kind::Digits }, groups: part }];
    };
    let window = part.start + window.start..part.start + window.end;
    let mut found = cards(text, groups, part.start..window.start);
    found.push(Value { kind: Kind::Card, groups: window.clone() });
    found.extend(cards(text, groups, window.end..part.end));
    found
}

/// The groups that are a card's number by its check digit; the usual lengths first. Four years or prices may have the right check digit too.
fn card_window(text: &str, groups: &[Group]) -> Option<Range<usize>> {
    let mut is_innocent_at = vec![false; groups.len()];
    for item in items(text, groups) {
        is_innocent_at[item.clone()].fill(is_innocent(text, &groups[item]));
    }
    for wanted in [16, 15, 14, 13, 19, 18, 17] {
        for begin in 0..groups.len() {
            let mut length = 0;
            let end = (begin..groups.len()).find(|end| {
                length += groups[*end].number.digits.len();
                length >= wanted
            });
            let Some(end) = end else { break };
            let is_innocent = is_innocent_at[begin..=end].iter().all(|it| *it);
            if length == wanted && !is_innocent && is_luhn(&digits(&groups[begin..=end])) {
                return Some(begin..end + 1);
            }
        }
    }
    None
}

/// The check of ISO/IEC 7812-1.
pub(crate) fn is_luhn(digits: &str) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let digits = digits.bytes().rev().map(|digit| u32::from(digit - b'0'));
    let sum: u32 =
        digits.enumerate().map(|(place, digit)| if place % 2 == 1 { doubled(digit) } else { digit }).sum();
    sum.is_multiple_of(10)
}
