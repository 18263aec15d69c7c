//! A line for a person: time, level, target, message, the fields of the event, and those of the spans around it unless the event says
//! them itself.

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

/// The format; fields are written as [`Fields`] writes them.
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
        context.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let is_told = |name: &str| about.fields().iter().any(|field| field.name() == name);
            if span.metadata().fields().iter().any(|field| is_told(field.name())) {
                continue;
            }
            if let Some(fields) =
                span.extensions().get::<FormattedFields<Fields>>().filter(|it| !it.is_empty())
            {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

/// `message name=value name=value`, each value on one line.
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut writing = Writing { writer, is_first: true, outcome: Ok(()) };
        fields.record(&mut writing);
        writing.outcome
    }
}

struct Writing<'w> {
    writer: Writer<'w>,
    is_first: bool,
    outcome: fmt::Result,
}

impl Writing<'_> {
    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
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
