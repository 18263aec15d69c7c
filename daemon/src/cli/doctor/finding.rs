//! A finding, and how it is shown.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::cli::screen::{Screen, Span, Style, column, has_colours, paint};
use crate::counted::counted;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub check: String,
    pub level: Level,
    pub message: String,
    /// What to do; null only where all is well.
    pub remedy: Option<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    /// The daemon works, and something may be unintended or will be in the way.
    Warning,
    /// Recordings will wait or fail.
    Error,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { check: check.into(), level: Level::Ok, message: message.into(), remedy: None }
    }

    pub(super) fn warning(
        check: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding {
            check: check.into(),
            level: Level::Warning,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Makes a finding of a sentence from another part of the program; what stands after its last semicolon becomes the remedy. `otherwise` is
    /// the remedy if the sentence has no semicolon.
    pub(super) fn of_sentence(
        check: impl Into<String>,
        level: Level,
        sentence: &str,
        otherwise: &str,
    ) -> Finding {
        let (message, remedy) = sentence.rsplit_once("; ").unwrap_or((sentence, otherwise));
        Finding { level, ..Finding::warning(check, message, remedy) }
    }

    pub(super) fn error(
        check: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { level: Level::Error, ..Finding::warning(check, message, remedy) }
    }
}

/// One line a finding, and a last one that sums up; of errors, the command's own error is the last line. On a terminal that is too narrow the
/// remedy has lines of its own.
pub(super) fn print_for_people(out: &mut (impl Write + IsTerminal), findings: &[Finding]) -> io::Result<()> {
    let (is_terminal, has_colours) = (out.is_terminal(), has_colours(out));
    let width = findings.iter().map(|finding| finding.check.width()).max().unwrap_or_default();
    let columns = if is_terminal { Screen::new().columns() } else { usize::MAX };
    for Finding { check, level, message, remedy } in findings {
        let (style, sign, word) = match level {
            Level::Ok => (Style::GREEN, "✓", "ok     "),
            Level::Warning => (Style::YELLOW, "!", "warning"),
            Level::Error => (Style::RED, "✗", "error  "),
        };
        let head = [
            Span::new(style, if is_terminal { sign } else { word }),
            Span::new(Style::BOLD, format!("  {}  ", column(check, width))),
        ];
        let of_message = if *level == Level::Ok { Style::DIM } else { Style::PLAIN };
        let indent = head.iter().map(|span| span.text.width()).sum();
        let mut spans = head.to_vec();
        match remedy.as_ref().map(|remedy| format!("→ {remedy}")) {
            Some(remedy) if indent + message.width() + 1 + remedy.width() > columns => {
                spans.push(Span::new(of_message, message));
                write_line(out, &spans, has_colours)?;
                for part in wrapped(&remedy, columns.saturating_sub(indent)) {
                    write_line(out, &[Span::new(Style::CYAN, " ".repeat(indent) + &part)], has_colours)?;
                }
            }
            remedy => {
                spans.push(Span::new(of_message, message));
                spans.extend(remedy.map(|remedy| Span::new(Style::CYAN, format!(" {remedy}"))));
                write_line(out, &spans, has_colours)?;
            }
        }
    }
    let (style, words) = match summary(findings) {
        Summary { errors: 0, warnings: 0 } => (Style::GREEN, "all is well".to_owned()),
        summary if summary.errors == 0 => (Style::YELLOW, summary.to_string()),
        // The command's error says it.
        _ => return Ok(()),
    };
    write_line(out, &[Span::new(style, words)], has_colours)
}

fn write_line(out: &mut impl Write, spans: &[Span], has_colours: bool) -> io::Result<()> {
    writeln!(out, "{}", paint(spans, has_colours))
}

/// The text in lines of this many columns, broken between words.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            // What follows the arrow stands below what follows it.
            Some(_) => lines.push(format!("  {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How many findings there are that need something.
pub(super) struct Summary {
    pub errors: usize,
    warnings: usize,
}

pub(super) fn summary(findings: &[Finding]) -> Summary {
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    Summary { errors: of(Level::Error), warnings: of(Level::Warning) }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (errors, warnings) = (counted(self.errors, "error"), counted(self.warnings, "warning"));
        match (self.errors, self.warnings) {
            (0, _) => f.write_str(&warnings),
            (_, 0) => f.write_str(&errors),
            _ => write!(f, "{errors}, {warnings}"),
        }
    }
}
