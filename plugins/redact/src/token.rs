//! What stands in the place of a value.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Iban,
    Card,
    Phone,
    Email,
    Word,
    Pattern,
    Digits,
}

/// The mask of [`Replace::Mask`](crate::Replace::Mask).
pub(crate) const MASK: &str = "****";

const NAMES: [(Kind, &str); 7] = [
    (Kind::Iban, "IBAN"),
    (Kind::Card, "CARD"),
    (Kind::Phone, "PHONE"),
    (Kind::Email, "EMAIL"),
    (Kind::Word, "WORD"),
    (Kind::Pattern, "PATTERN"),
    (Kind::Digits, "DIGITS"),
];

/// Most digits of a token's number. More of them could be a value.
const LONGEST: usize = 6;

/// The token of a value.
pub(crate) fn token(kind: Kind, number: u32) -> String {
    let name = NAMES.iter().find(|(it, _)| *it == kind).map_or("", |(_, name)| *name);
    format!("[{name}_{number}]")
}

/// The token at the beginning of a text, in any case: its kind, its number, its length in bytes.
pub(crate) fn parse(text: &str) -> Option<(Kind, u32, usize)> {
    let rest = text.strip_prefix('[')?;
    let (kind, name) = NAMES
        .iter()
        .find(|(_, name)| rest.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name)))?;
    let rest = rest[name.len()..].strip_prefix('_')?;
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    if length > LONGEST || !rest[length..].starts_with(']') {
        return None;
    }
    Some((*kind, rest[..length].parse().ok()?, name.len() + length + 3))
}

/// The length of the token at the beginning of a text, and whether it stands for digits that a speaker may go on with.
pub(crate) fn at(text: &str) -> Option<(usize, bool)> {
    parse(text).map(|(kind, _, length)| (length, matches!(kind, Kind::Card | Kind::Phone | Kind::Digits)))
}

/// The tokens of a text: where they are, and what they are.
pub(crate) fn all(text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, Kind, u32)> {
    text.match_indices('[').filter_map(|(begin, _)| {
        let (kind, number, length) = parse(&text[begin..])?;
        Some((begin..begin + length, kind, number))
    })
}

/// Whether a text ends with a token.
pub(crate) fn ends(text: &str) -> bool {
    let text = text.trim_end_matches(|it: char| it != ']' && !it.is_alphanumeric());
    all(text).last().is_some_and(|(range, ..)| range.end == text.len())
}
