//! Tables for a person: columns as wide as what is in them, the last one as wide as the terminal leaves it.

use super::screen::{Screen, Span, Style, column};
use super::{Exit, has_reader};

/// The least columns that the last column has, however narrow the terminal is.
const LAST_COLUMN: usize = 20;

/// A cell.
#[derive(Debug, Clone)]
pub struct Cell {
    pub style: Style,
    pub text: String,
}

impl Cell {
    pub fn plain(text: impl Into<String>) -> Cell {
        Cell { style: Style::PLAIN, text: text.into() }
    }

    pub fn styled(style: Style, text: impl Into<String>) -> Cell {
        Cell { style, text: text.into() }
    }
}

/// Prints a table; each row has as many cells as there are titles. On a terminal no line is longer than it is wide; elsewhere nothing is
/// left out.
///
/// # Errors
/// When stdout cannot be written; a reader that is gone is no error.
pub fn print<const N: usize>(titles: [&str; N], rows: Vec<[Cell; N]>) -> Result<(), Exit> {
    let mut screen = Screen::new();
    let mut widths = titles.map(unicode_width::UnicodeWidthStr::width);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            let text = Span::new(Style::PLAIN, &cell.text).text;
            *width = (*width).max(unicode_width::UnicodeWidthStr::width(text.as_str()));
        }
    }
    if screen.is_terminal() {
        let before: usize = widths.iter().take(N.saturating_sub(1)).map(|width| width + 2).sum();
        if let Some(last) = widths.last_mut() {
            *last = (*last).min(screen.columns().saturating_sub(before).max(LAST_COLUMN));
        }
    }
    let header = titles.map(|title| Cell::styled(Style::BOLD, title));
    for row in std::iter::once(header).chain(rows) {
        let mut line = Vec::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let text = Span::new(cell.style, &cell.text).text;
            let text = if at + 1 == N && !screen.is_terminal() { text } else { column(&text, width) };
            let is_last = at + 1 == N;
            let text = if is_last { text.trim_end().to_owned() } else { text };
            line.push(Span { style: cell.style, text });
            if !is_last {
                line.push(Span { style: Style::PLAIN, text: "  ".to_owned() });
            }
        }
        if !has_reader(screen.print(&line))? {
            return Ok(());
        }
    }
    Ok(())
}
