//! A TOML text in which the place of every value is known.

use figment::value::{Dict, Num, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistakes::{Mistake, Place};

/// A parsed text.
pub(super) struct Document<'t> {
    text: &'t str,
    pub(super) root: DeTable<'t>,
    /// The first syntax error. What the parser makes of the rest follows from it (a list that is not closed takes in the tables behind it),
    /// and does not show what the operator meant.
    pub(super) broken: Option<Mistake>,
}

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut document = Document { text, root: root.into_inner(), broken: None };
        document.broken =
            errors.iter().min_by_key(|error| offset(error)).map(|error| document.explain(error));
        document
    }

    fn explain(&self, error: &toml::de::Error) -> Mistake {
        let place = error.span().map_or(Place::File, |span| self.place(span.start));
        let text = error.message().trim().replace('\n', ", ");
        let advice = self.advice(offset(error), &text).unwrap_or_default();
        Mistake { place, text: format!("this is not TOML: {text}{advice}") }
    }

    /// An explanation of the parser's error for readers who do not know TOML.
    fn advice(&self, offset: usize, words: &str) -> Option<String> {
        let written = self.text.get(offset..).and_then(|rest| rest.chars().next());
        if words.starts_with("missing escaped value") {
            return Some("; a backslash is only a backslash in 'single quotes'".into());
        }
        if let Some(quote @ ('“' | '”' | '„' | '‘' | '’' | '«' | '»')) = written {
            return Some(format!("; {quote} is no quotation mark here, write \""));
        }
        let begin = innermost_list(self.root.values(), offset)?;
        match (self.place(begin), self.place(offset)) {
            (Place::Line { line, .. }, Place::Line { line: noticed, .. }) if line < noticed => {
                Some(format!("; the list that begins in line {line} may lack its `]`"))
            }
            _ => None,
        }
    }

    /// The line and column of a byte of the text.
    pub(super) fn place(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The place of the value at a path like `source.0.path`, or else of the closest table around it.
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

    /// The whole text in figment's form.
    pub(super) fn dict(&self) -> Dict {
        to_dict(&self.root)
    }
}

/// Where the parser failed; an error without a place sorts last.
fn offset(error: &toml::de::Error) -> usize {
    error.span().map_or(usize::MAX, |span| span.start)
}

/// The start of the innermost list that contains the offset.
fn innermost_list<'v, 't: 'v>(
    values: impl IntoIterator<Item = &'v Spanned<DeValue<'t>>>,
    offset: usize,
) -> Option<usize> {
    values.into_iter().find_map(|value| match value.get_ref() {
        DeValue::Table(table) => innermost_list(table.values(), offset),
        DeValue::Array(array) => innermost_list(array.iter(), offset).or_else(|| {
            let span = value.span();
            (span.start < offset && offset < span.end).then_some(span.start)
        }),
        _ => None,
    })
}

/// A table in figment's form.
pub(super) fn to_dict(table: &DeTable<'_>) -> Dict {
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
