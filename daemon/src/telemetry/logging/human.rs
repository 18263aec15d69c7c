//! A line for a person: time, level, target, message, the fields of the event, and the fields of the spans around it, except names that the
//! event has itself.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::readable;

const DIM: &str = "2";
const ITALIC: &str = "3";

/// The format; [`Fields`] writes the fields.
pub(super) struct Line;

impl<S> FormatEvent<S, Fields> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Fields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let about = event.metadata();
        paint(&mut writer, DIM, format_args!("{:.3} ", jiff::Timestamp::now()))?;
        paint(&mut writer, colour(*about.level()), format_args!("{:>5} ", about.level()))?;
        paint(&mut writer, DIM, format_args!("{}: ", about.target()))?;
        let mut writing = Writing::new(writer.by_ref(), false);
        event.record(&mut writing);
        writing.outcome?;
        let mut around: Vec<(String, String)> = Vec::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<FormattedFields<Fields>>() else { continue };
            for (name, written) in fields.split(END).filter_map(|field| field.split_once(END_OF_NAME)) {
                // An inner span has the same field.
                around.retain(|(other, _)| other != name);
                if !about.fields().iter().any(|field| field.name() == name) {
                    around.push((name.to_owned(), written.to_owned()));
                }
            }
        }
        for (_, written) in around {
            write!(writer, " {written}")?;
        }
        writeln!(writer)
    }
}

/// The fields of a span, kept apart so that a line can leave some of them out. The separators cannot occur in the fields: those are
/// escaped.
pub(super) struct Fields;

const END_OF_NAME: char = '\u{1e}';
const END: char = '\u{1f}';

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut writing = Writing::new(writer, true);
        fields.record(&mut writing);
        writing.outcome
    }
}

/// Writes `message name=value name=value`, each value on one line.
struct Writing<'w> {
    writer: Writer<'w>,
    /// Whether the fields are those of a span.
    is_kept: bool,
    is_first: bool,
    outcome: fmt::Result,
}

impl<'w> Writing<'w> {
    fn new(writer: Writer<'w>, is_kept: bool) -> Self {
        Writing { writer, is_kept, is_first: true, outcome: Ok(()) }
    }

    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        let is_first = std::mem::take(&mut self.is_first);
        match self.is_kept {
            true => write!(self.writer, "{END}{}{END_OF_NAME}", field.name())?,
            false if !is_first => self.writer.write_char(' ')?,
            false => {}
        }
        if field.name() != "message" {
            paint(&mut self.writer, ITALIC, format_args!("{}", field.name()))?;
            paint(&mut self.writer, DIM, format_args!("="))?;
        }
        self.writer.write_str(&readable(value))
    }
}

impl Visit for Writing<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.outcome.is_ok() {
            self.outcome = self.write(field, &format!("{value:?}"));
        }
    }
}

/// The numbers are those of ECMA-48.
fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        _ => "35",
    }
}

fn paint(writer: &mut Writer<'_>, colour: &str, words: fmt::Arguments<'_>) -> fmt::Result {
    if writer.has_ansi_escapes() {
        write!(writer, "\x1b[{colour}m{words}\x1b[0m")
    } else {
        writer.write_fmt(words)
    }
}
