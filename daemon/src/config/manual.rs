//! What the embedded manual says of each key: the comment behind its line.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::EMBEDDED;

/// The comments by the paths of their keys, as in `dashscope.region` and `source.1.subject`: the samples are elements of their arrays.
pub(super) fn comments() -> BTreeMap<String, String> {
    let text = uncommented();
    let (root, _) = DeTable::parse_recoverable(&text);
    let mut comments = BTreeMap::new();
    collect(&text, "", root.get_ref(), &mut comments);
    comments
}

/// The manual with its samples in force. Lines that begin with `#` and no space are samples.
pub(super) fn uncommented() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(sample) if !sample.is_empty() && !sample.starts_with(' ') => sample,
        _ => line,
    };
    EMBEDDED.lines().flat_map(|text| [line(text), "\n"]).collect()
}

fn collect(text: &str, path: &str, table: &DeTable<'_>, comments: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(table) if text[key.span().end..].trim_start().starts_with(']') => {
                collect(text, &path, table, comments);
            }
            DeValue::Array(elements)
                if elements.iter().all(|element| element.get_ref().is_table()) && !elements.is_empty() =>
            {
                for (index, element) in elements.iter().enumerate() {
                    if let DeValue::Table(table) = element.get_ref() {
                        collect(text, &format!("{path}.{index}"), table, comments);
                    }
                }
            }
            _ => comments.extend(comment_behind(text, value.span()).map(|comment| (path, comment))),
        }
    }
}

/// The comment on the line of a value, and on the lines below it that are nothing but comment, indented.
fn comment_behind(text: &str, value: Range<usize>) -> Option<String> {
    let mut lines = text[value.end..].lines();
    let mut parts = vec![lines.next()?.trim_start().strip_prefix('#')?.trim()];
    parts.extend(lines.map_while(|line| {
        let comment = line.trim_start();
        let is_indented = comment.len() < line.len();
        comment.strip_prefix('#').filter(|_| is_indented).map(str::trim)
    }));
    Some(parts.join(" ").trim_end_matches(',').to_owned())
}
