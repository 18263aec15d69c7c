//! One line an event: time, level, target, message, and the fields of the event and of the spans around it side by side. A field hides
//! those of the same name in spans further out. For a program the line is a JSON object.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::{priority, readable, readable_json};

const DIM: &str = "2";

/// The format; spans keep their fields as [`JsonFields`].
pub(super) enum Line {
    Human,
    Json,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonFields> for Line {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let Some(of_span) = extensions.get::<FormattedFields<JsonFields>>() else { continue };
            // A span without fields has formatted nothing.
            if let Ok(Value::Object(of_span)) = serde_json::from_str(&of_span.fields) {
                fields.extend(of_span);
            }
        }
        event.record(&mut Fields { fields: &mut fields, is_quoted: matches!(self, Line::Human) });
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let time = format!("{:.3}", jiff::Timestamp::now());
        writer.write_str(priority(*level))?;
        match self {
            Line::Human => {
                paint(&mut writer, DIM, format_args!("{time} "))?;
                paint(&mut writer, colour(*level), format_args!("{level:>5} "))?;
                paint(&mut writer, DIM, format_args!("{target}:"))?;
                if let Some(message) = fields.remove("message") {
                    write!(writer, " {}", readable(message.as_str().unwrap_or_default()))?;
                }
                for (name, value) in &fields {
                    paint(&mut writer, DIM, format_args!(" {name}="))?;
                    match value {
                        Value::String(text) => writer.write_str(&readable(text))?,
                        other => write!(writer, "{other}")?,
                    }
                }
                writeln!(writer)
            }
            Line::Json => {
                fields.insert("time".into(), time.into());
                fields.insert("level".into(), level.as_str().to_lowercase().into());
                fields.insert("target".into(), target.into());
                writeln!(writer, "{}", readable_json(&Value::Object(fields).to_string()))
            }
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

struct Fields<'l> {
    fields: &'l mut Map<String, Value>,
    /// Whether texts, other than the message, stand in quotation marks.
    is_quoted: bool,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match self.is_quoted && field.name() != "message" {
            true => self.put(field, format!("{value:?}")),
            false => self.put(field, value),
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
