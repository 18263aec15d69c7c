//! Lines for a person: coloured on a terminal, with one live line at the bottom that grows in place.

use std::io::{self, IsTerminal, Stdout, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::telemetry::logging::readable;

/// The width where the terminal does not report one.
const USUAL_WIDTH: usize = 80;

/// A text style: the parameters of ECMA-48's SGR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style(&'static str);

impl Style {
    pub const PLAIN: Style = Style("0");
    pub const BOLD: Style = Style("1");
    pub const DIM: Style = Style("2");
    pub const GREEN: Style = Style("32");
    pub const CYAN: Style = Style("36");
    pub const YELLOW: Style = Style("33");
    pub const RED: Style = Style("1;31");
    pub const BLACK_ON_YELLOW: Style = Style("1;30;43");
    pub const WHITE_ON_RED: Style = Style("1;37;41");
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub style: Style,
    pub text: String,
}

impl Span {
    /// Escapes what is unsafe on a terminal: the text may come from outside.
    pub fn new(style: Style, text: impl AsRef<str>) -> Span {
        Span { style, text: readable(text.as_ref()).into_owned() }
    }
}

/// Standard output as a screen. Without a terminal every text is printed as a line of its own, without colours.
#[derive(Debug)]
pub struct Screen {
    out: Stdout,
    is_terminal: bool,
    has_colours: bool,
    /// The live line at the bottom: its owner, and its spans.
    live: Option<(String, Vec<Span>)>,
}

impl Screen {
    /// Leaves out colours where `NO_COLOR` is set.
    pub fn new() -> Screen {
        let out = io::stdout();
        Screen { is_terminal: out.is_terminal(), has_colours: has_colours(&out), out, live: None }
    }

    /// Whether a person reads it.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// How wide it is.
    pub fn columns(&self) -> usize {
        if self.is_terminal { width() } else { usize::MAX }
    }

    /// Writes a line; the live line stays below it.
    ///
    /// # Errors
    /// Errors of standard output.
    pub fn print(&mut self, line: &[Span]) -> io::Result<()> {
        let live = self.live.take();
        self.erase(live.is_some())?;
        let line = paint(line, self.has_colours);
        writeln!(self.out, "{line}")?;
        if let Some((owner, spans)) = live {
            self.grow(&owner, spans)?;
        }
        self.out.flush()
    }

    /// Replaces the live line by `line`; when it is too long, the front of its last span is cut.
    ///
    /// # Errors
    /// Errors of standard output.
    pub fn grow(&mut self, owner: &str, line: Vec<Span>) -> io::Result<()> {
        if !self.is_terminal {
            return self.print(&line);
        }
        self.erase(self.live.is_some())?;
        let fitted = fit(&line, width().saturating_sub(1));
        let painted = paint(&fitted, self.has_colours);
        write!(self.out, "{painted}")?;
        self.live = Some((owner.to_owned(), line));
        self.out.flush()
    }

    /// Removes the live line if it is `owner`'s: the caller prints the final line next.
    ///
    /// # Errors
    /// Errors of standard output.
    pub fn settle(&mut self, owner: &str) -> io::Result<()> {
        if self.live.as_ref().is_some_and(|(whose, _)| whose == owner) {
            self.live = None;
            self.erase(true)?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Leaves the cursor on a fresh line.
    ///
    /// # Errors
    /// Errors of standard output.
    pub fn close(&mut self) -> io::Result<()> {
        if self.live.take().is_some() {
            writeln!(self.out)?;
        }
        self.out.flush()
    }

    fn erase(&mut self, is_live: bool) -> io::Result<()> {
        if is_live && self.is_terminal { write!(self.out, "\r\x1b[2K") } else { Ok(()) }
    }
}

/// The line as text, with or without colours.
pub fn paint(line: &[Span], has_colours: bool) -> String {
    let mut painted = String::new();
    for Span { style, text } in line {
        match has_colours && *style != Style::PLAIN {
            true => painted.push_str(&format!("\x1b[{}m{text}\x1b[0m", style.0)),
            false => painted.push_str(text),
        }
    }
    painted
}

/// Whether a person reads a stream in colours: it is a terminal, and `NO_COLOR` is not set.
pub fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Cuts the line to `columns`: the last span is cut first, at its front, because the newest words stand at its end.
pub fn fit(line: &[Span], columns: usize) -> Vec<Span> {
    let mut fitted = line.to_vec();
    let Some((last, before)) = fitted.split_last_mut() else { return fitted };
    let taken: usize = before.iter().map(|span| span.text.width()).sum();
    last.text = keep_end(&last.text, columns.saturating_sub(taken));
    fitted
}

/// The text in exactly `columns`: cut at its end with an ellipsis, or filled up with spaces.
pub fn column(text: &str, columns: usize) -> String {
    let mut fitted = String::new();
    let mut used = 0;
    let too_long = text.width() > columns;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width > columns.saturating_sub(usize::from(too_long)) {
            break;
        }
        used += width;
        fitted.push(c);
    }
    if too_long {
        fitted.push('…');
        used += 1;
    }
    fitted + &" ".repeat(columns.saturating_sub(used))
}

fn keep_end(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut used = 1;
    let mut kept: Vec<char> = Vec::new();
    for c in text.chars().rev() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        kept.push(c);
    }
    std::iter::once('…').chain(kept.into_iter().rev()).collect()
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(USUAL_WIDTH, |size| if size.ws_col == 0 { USUAL_WIDTH } else { usize::from(size.ws_col) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_text_shows_its_newest_words() {
        let line = [Span::new(Style::PLAIN, "call: "), Span::new(Style::PLAIN, "one two three")];
        let shown = |columns| fit(&line, columns).iter().map(|span| span.text.clone()).collect::<String>();
        assert_eq!(shown(19), "call: one two three");
        assert_eq!(shown(12), "call: …three");
        assert_eq!(shown(3), "call: …");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(keep_end("您好，我的订单", 7), "…的订单");
        assert_eq!(column("订单.wav", 7), "订单.w…");
        assert_eq!(column("订单录音", 4), "订… ");
    }

    #[test]
    fn a_column_is_as_wide_as_it_says() {
        assert_eq!(column("a.wav", 8), "a.wav   ");
        assert_eq!(column("recording.wav", 8), "recordi…");
    }

    #[test]
    fn text_from_outside_cannot_command_the_terminal() {
        assert_eq!(Span::new(Style::PLAIN, "a\x1b[2J\nb").text, "a\\u{1b}[2J\\nb");
    }
}
