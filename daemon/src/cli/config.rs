//! `harkd config`: the manual, and what file and environment make of it.

use std::io::{self, Write};
use std::path::Path;

use clap::Subcommand;
use serde_json::json;
use toml::Value;
use unicode_width::UnicodeWidthStr;

use super::screen::{Span, Style, has_colours, paint};
use super::{Exit, print, write_json};
use crate::config::{self, EMBEDDED, Effective, Layer};
use crate::telemetry::logging::{readable, readable_json};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the manual: every key with its default, its unit and its reason; a configuration file to begin with
    Default,
    /// Print every value with the layer that it comes from: default, line of the file, environment variable; secrets are masked
    Effective {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Prints the one or the other.
///
/// # Errors
/// 78 where the config has mistakes, for then there is no config that the daemon would run with.
pub fn execute(file: &Path, command: &Command) -> Result<(), Exit> {
    match command {
        Command::Default => print(|out| out.write_all(EMBEDDED.as_bytes()))?,
        Command::Effective { json } => {
            let effective = config::inspect(file).effective()?;
            match json {
                true => print(|out| write_json(out, &to_json(&effective)))?,
                false => print(|out| write_toml(out, &effective, has_colours(&io::stdout())))?,
            }
        }
    };
    Ok(())
}

fn to_json(effective: &Effective) -> serde_json::Value {
    let mut values = Vec::new();
    for table in &effective.tables {
        let name = table.index.map_or(table.name.clone(), |index| format!("{}.{index}", table.name));
        for entry in &table.entries {
            let (layer, line, variable) = match &entry.layer {
                Layer::Default => ("default", None, None),
                Layer::File { line } => ("file", Some(line), None),
                Layer::Environment { variable } => ("environment", None, Some(variable)),
            };
            let key = format!("{name}.{}", entry.key);
            values.push(json!({ "key": key, "value": entry.value, "layer": layer, "line": line, "variable": variable }));
        }
    }
    json!({ "file": effective.file, "values": values })
}

/// Longer lines do not move the comments of the others.
const WIDEST: usize = 44;

/// Writes TOML that can be read back as the same config, except for masked secrets. Behind each value stands its layer, as a comment. Values
/// that differ from the defaults are bright.
fn write_toml(out: &mut impl Write, effective: &Effective, has_colours: bool) -> io::Result<()> {
    let lines = |table: &config::Table| -> Vec<(String, String, bool)> {
        let line = |entry: &config::Entry| {
            let layer = match &entry.layer {
                Layer::Default => "default".to_owned(),
                Layer::File { line } => format!("{}:{line}", effective.file),
                Layer::Environment { variable } => variable.clone(),
            };
            (format!("{} = {}", entry.key, on_one_line(&entry.value)), layer, entry.layer == Layer::Default)
        };
        table.entries.iter().map(line).collect()
    };
    let tables: Vec<_> = effective.tables.iter().map(|table| (table, lines(table))).collect();
    let widths = tables.iter().flat_map(|(_, lines)| lines).map(|(line, ..)| line.width());
    let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or_default();
    for (at, (table, lines)) in tables.iter().enumerate() {
        let header =
            if table.index.is_some() { format!("[[{}]]", table.name) } else { format!("[{}]", table.name) };
        if at > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", paint(&[Span::new(Style::BOLD, header)], has_colours))?;
        for (line, layer, is_default) in lines {
            let gap = " ".repeat(width.saturating_sub(line.width()) + 2);
            let (style, origin) =
                if *is_default { (Style::DIM, Style::DIM) } else { (Style::PLAIN, Style::CYAN) };
            let spans = [Span::new(style, line), Span::new(origin, format!("{gap}# {layer}"))];
            writeln!(out, "{}", paint(&spans, has_colours))?;
        }
    }
    Ok(())
}

/// The value as TOML on one line.
fn on_one_line(value: &Value) -> String {
    match value {
        Value::String(text) => text_on_one_line(text),
        Value::Array(items) => format!("[{}]", items.iter().map(on_one_line).collect::<Vec<_>>().join(", ")),
        Value::Table(keys) if keys.is_empty() => "{}".to_owned(),
        Value::Table(keys) => {
            let pairs = keys.iter().map(|(key, value)| format!("{} = {}", key_text(key), on_one_line(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text as the operator would write it: a pattern with backslashes between single quotes, what commands the terminal with escapes.
fn text_on_one_line(text: &str) -> String {
    let is_plain = readable(text) == text && !text.contains('\'');
    if is_plain && text.contains(['\\', '"']) {
        return format!("'{text}'");
    }
    // A string of JSON is one of TOML, which wants DEL escaped too.
    readable_json(&serde_json::Value::from(text).to_string()).into_owned()
}

fn key_text(key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { key.to_owned() } else { text_on_one_line(key) }
}
