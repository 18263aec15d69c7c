//! A line for a person: time, level, target, message, the fields of the event, and those of the spans around it unless the event says
//! them itself.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The format; fields are written as `N` writes them.
pub(super) struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        const DIM: &str = "2";
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
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|it| !it.is_empty()) {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
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
