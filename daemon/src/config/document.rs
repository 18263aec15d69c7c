//! A TOML text that remembers where everything stands.

use figment::value::{Dict, Num, Value};
use toml::de::{DeTable, DeValue};

use super::mistakes::{Mistake, Place};

/// A parsed text. What could not be parsed is listed in `errors` and missing in `root`.
pub(super) struct Document<'t> {
    text: &'t str,
    pub(super) root: DeTable<'t>,
    pub(super) errors: Vec<Mistake>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut document = Document { text, root: root.into_inner(), errors: Vec::new() };
        for error in errors {
            let place = error.span().map_or(Place::File, |span| document.place(span.start));
            let text = error.message().trim().replace('\n', ", ");
            document.errors.push(Mistake { place, text: format!("this is not TOML: {text}") });
        }
        document
    }

    /// Where a byte of the text is, for people.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Where the value at a path like `source.0.path` stands, or else the closest table around it.
    pub(super) fn find(&self, path: &str) -> Place {
        let mut segments = path.split('.');
        let Some((_, mut value)) = segments.next().and_then(|first| self.root.get_key_value(first)) else {
            return Place::File;
        };
        for segment in segments {
            let inner = match value.get_ref() {
                DeValue::Table(table) => table.get(segment),
                DeValue::Array(array) => segment.parse().ok().and_then(|index: usize| array.get(index)),
                _ => None,
            };
            match inner {
                Some(inner) => value = inner,
                None => break,
            }
        }
        self.place(value.span().start)
    }

    /// The whole text as figment sees it.
    pub(super) fn dict(&self) -> Dict {
        to_dict(&self.root)
    }
}

/// A table as figment sees it.
pub(super) fn to_dict(table: &DeTable<'_>) -> Dict {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), to_value(value.get_ref()))).collect()
}

/// A value as figment sees it; numbers that fit no type of ours stay texts, which no numeric key accepts.
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
