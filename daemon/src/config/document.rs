//! A TOML text in which the place of every value is known.

use figment::value::{Dict, Num, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::{Mistake, Place};

/// Where a key and its value begin, in bytes of the text.
struct Offsets {
    key: usize,
    value: usize,
}

/// A parsed text.
pub(super) struct Document<'t> {
    text: &'t str,
    /// Empty if the text is broken.
    root: DeTable<'t>,
    /// Why the text cannot be used: the first syntax error, or why the file cannot be read. Further errors are not reported: behind a syntax
    /// error the parser misreads the rest (a list that is not closed swallows the tables after it).
    pub(super) broken: Option<Mistake>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut document = Document { text, root: DeTable::new(), broken: None };
        let offset = |error: &&toml::de::Error| error.span().map_or(usize::MAX, |span| span.start);
        match errors.iter().min_by_key(offset) {
            None => document.root = root.into_inner(),
            Some(error) => {
                let place = error.span().map_or(Place::File, |span| document.place(span.start));
                let text = format!("this is not TOML: {}", error.message().trim().replace('\n', ", "));
                document.broken = Some(Mistake { place, text });
            }
        }
        document
    }

    /// A text that cannot be read.
    pub(super) fn unreadable(why: Mistake) -> Self {
        Document { text: "", root: DeTable::new(), broken: Some(why) }
    }

    /// The line and column of a byte of the text.
    fn place(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The place of the key at a path like `source.0.path`, or of its value, or else of the closest table around it.
    pub(super) fn find(&self, path: &str, is_key: bool) -> Place {
        self.walk(path)
            .map_or(Place::File, |(place, _)| self.place(if is_key { place.key } else { place.value }))
    }

    /// The place of the key at a path; `None` if the text does not set it.
    pub(super) fn find_exactly(&self, path: &str) -> Option<Place> {
        self.walk(path).filter(|(_, is_whole)| *is_whole).map(|(place, _)| self.place(place.key))
    }

    /// Follows a path as far as the text has it; the truth value tells whether that is its end.
    fn walk(&self, path: &str) -> Option<(Offsets, bool)> {
        let mut segments = path.split('.');
        let (mut key, mut value) = segments.next().and_then(|table| self.root.get_key_value(table))?;
        let offsets = |key: &Spanned<_>, value: &Spanned<_>| Offsets {
            key: key.span().start,
            value: value.span().start,
        };
        for segment in segments {
            let index = segment.parse::<usize>().ok();
            match value.get_ref() {
                DeValue::Table(table) => match table.get_key_value(segment) {
                    Some(entry) => (key, value) = entry,
                    // A table that lacks its second pair of brackets counts as the first element.
                    None if index == Some(0) => {}
                    None => return Some((offsets(key, value), false)),
                },
                DeValue::Array(elements) => match index.and_then(|index| elements.get(index)) {
                    Some(element) => value = element,
                    None => return Some((offsets(key, value), false)),
                },
                _ => return Some((offsets(key, value), false)),
            }
        }
        Some((offsets(key, value), true))
    }

    /// The place of the value at a path below another, or of the closest value around it; `None` if there is nothing of that path.
    pub(super) fn find_inside(&self, around: &str, path: &str) -> Option<Place> {
        let place = self.find(&format!("{around}.{path}"), false);
        let first = path.split('.').next().unwrap_or_default();
        let is_inside = self.find(&format!("{around}.{first}"), true) != self.find(around, true);
        is_inside.then_some(place)
    }

    /// The whole text in figment's form.
    pub(super) fn dict(&self) -> Dict {
        to_dict(&self.root)
    }
}

/// A table in figment's form.
fn to_dict(table: &DeTable<'_>) -> Dict {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), to_value(value.get_ref()))).collect()
}

/// A value in figment's form; a number that fits none of the config's types stays a text, which no numeric key accepts.
pub(super) fn to_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Value::from(integer.as_str()), |number| Value::from(Num::I64(number))),
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .map_or_else(|_| Value::from(float.as_str()), |number| Value::from(Num::F64(number))),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(array) => {
            Value::from(array.iter().map(|item| to_value(item.get_ref())).collect::<Vec<_>>())
        }
        DeValue::Table(table) => Value::from(to_dict(table)),
    }
}
