//! Tables for a person: columns as wide as what is in them, the last one as wide as the terminal leaves it.

use unicode_width::UnicodeWidthStr;

use super::screen::{Screen, Span, Style, column};
use super::{Exit, has_reader};

/// The least columns that the last column has, however narrow the terminal is.
const LAST_COLUMN: usize = 20;

/// Prints a table; each row has as many cells as there are titles. On a terminal no line is longer than it is wide; elsewhere nothing is
/// left out.
///
/// # Errors
/// When stdout cannot be written; a reader that is gone is no error.
pub fn print<const N: usize>(titles: [&str; N], rows: Vec<[Span; N]>) -> Result<(), Exit> {
    let mut screen = Screen::new();
    let mut widths = titles.map(UnicodeWidthStr::width);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    if screen.is_terminal() {
        let before: usize = widths.iter().take(N.saturating_sub(1)).map(|width| width + 2).sum();
        if let Some(last) = widths.last_mut() {
            *last = (*last).min(screen.columns().saturating_sub(before).max(LAST_COLUMN));
        }
    }
    let header = titles.map(|title| Span::new(Style::BOLD, title));
    for row in std::iter::once(header).chain(rows) {
        let mut line = Vec::new();
        for (at, (Span { style, text }, width)) in row.into_iter().zip(widths).enumerate() {
            let is_last = at + 1 == N;
            let text = if is_last && !screen.is_terminal() { text } else { column(&text, width) };
            let text = if is_last { text.trim_end().to_owned() } else { text };
            line.push(Span { style, text });
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
