//! What `harkd replay` prints and publishes.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use hark_sdk::event::Event;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::difference::{Difference, compare, failure, plugin};
use super::jobs::Ended;
use crate::broker::subject::headers;
use crate::broker::{JetStream, Subjects};
use crate::cli::event_line::{self, Layout};
use crate::cli::screen::{Screen, Span, Style, has_colours, paint};
use crate::cli::{Exit, has_reader, say, write_json};
use crate::counted::counted;

/// How often the line of progress is written.
const PROGRESS: Duration = Duration::from_millis(200);

/// Where the differences go: to stdout, and to NATS where that is asked for.
pub struct Output {
    as_json: bool,
    /// Only these plugins; empty: all, and annotations, which do not name theirs.
    plugins: Vec<String>,
    zone: TimeZone,
    layout: Layout,
    has_colours: bool,
    progress: Progress,
    publisher: Option<Publisher>,
    counts: Counts,
}

/// What was replayed.
#[derive(Debug, Default)]
pub struct Counts {
    pub finals: u64,
    pub new: u64,
    pub same: u64,
    pub gone: u64,
    /// Failed events of each plugin.
    pub failed: BTreeMap<String, u64>,
}

/// Publishes what would be said now.
pub struct Publisher {
    jetstream: JetStream,
    subjects: Subjects,
    /// Part of the ids of events, so that a second replay does not count as a duplicate of the first.
    run: i64,
    published: u64,
}

/// The line on the terminal of stderr.
struct Progress {
    is_shown: bool,
    is_terminal: bool,
    next: Instant,
    began: Instant,
}

impl Output {
    pub fn new(as_json: bool, plugins: &[String], publisher: Option<Publisher>) -> Output {
        let now = Instant::now();
        Output {
            as_json,
            plugins: plugins.to_owned(),
            zone: TimeZone::system(),
            layout: Layout::of(Screen::new().columns().saturating_sub(2)),
            has_colours: has_colours(&io::stdout()),
            progress: Progress {
                is_shown: false,
                is_terminal: io::stderr().is_terminal(),
                next: now,
                began: now,
            },
            publisher,
            counts: Counts::default(),
        }
    }

    /// Compares a job, and prints and publishes what came of it. False: the reader of stdout is gone.
    ///
    /// # Errors
    /// 70 when stdout cannot be written, 69 when NATS does not take an event.
    pub async fn show(&mut self, job: Ended) -> Result<bool, Exit> {
        self.counts.finals += 1;
        let then = job.then.into_iter().filter(|event| self.is_asked_for(event)).collect();
        let mut lines = Vec::new();
        for (difference, event) in compare(then, job.now) {
            match difference {
                Difference::New => self.counts.new += 1,
                Difference::Same => self.counts.same += 1,
                Difference::Gone => self.counts.gone += 1,
            }
            if let Some((plugin, _)) = failure(&event.body) {
                *self.counts.failed.entry(plugin.to_owned()).or_default() += 1;
            }
            let write = self.write(&mut lines, difference, &event);
            write.map_err(|error| Exit::Software(format!("an event cannot be written: {error}")))?;
            if let Some(publisher) = self.publisher.as_mut().filter(|_| difference != Difference::Gone) {
                publisher.publish(difference, &event).await?;
            }
        }
        if lines.is_empty() {
            return Ok(true);
        }
        self.progress.erase();
        let mut out = io::stdout().lock();
        has_reader(out.write_all(&lines).and_then(|()| out.flush()))
    }

    /// Shows how much is done, on a terminal, and not too often.
    pub fn progress(&mut self, share: f64) {
        let Progress { is_shown, is_terminal, next, began } = &mut self.progress;
        let now = Instant::now();
        if *is_terminal && now >= *next {
            (*is_shown, *next) = (true, now + PROGRESS);
            let rate = self.counts.finals as f64 / began.elapsed().as_secs_f64().max(0.001);
            let (finals, percent) = (counted(self.counts.finals, "final"), share * 100.0);
            // A terminal that is gone shows no progress.
            let _ = write!(io::stderr(), "\r\x1b[2K{percent:.0} %, {finals}, {rate:.0} a second");
        }
    }

    /// Waits until the server has what was published, and prints the sums on stderr.
    ///
    /// # Errors
    /// 69 when the server has refused it or does not answer.
    pub async fn finish(mut self) -> Result<Counts, Exit> {
        self.progress.erase();
        let Counts { finals, new, same, gone, .. } = self.counts;
        say(&format!("finals: {finals}; would be said now: {new} new, {same} the same; gone: {gone}"));
        if let Some(publisher) = &self.publisher {
            publisher.flush().await?;
            say(&format!("published: {}", publisher.published));
        }
        Ok(self.counts)
    }

    fn is_asked_for(&self, event: &Event) -> bool {
        self.plugins.is_empty()
            || plugin(&event.body).is_some_and(|plugin| self.plugins.iter().any(|name| name == plugin))
    }

    fn write(&self, out: &mut impl Write, difference: Difference, event: &Event) -> io::Result<()> {
        if self.as_json {
            let mut line = body(difference, event)?;
            line["type"] = format!("hark.{}", event.kind()).into();
            return write_json(out, &line);
        }
        let (style, mark) = match difference {
            Difference::New => (Style::GREEN, "+"),
            Difference::Same => (Style::DIM, "="),
            Difference::Gone => (Style::RED, "-"),
        };
        let mut line = vec![Span::new(style, mark), Span::new(Style::PLAIN, " ")];
        line.extend(event_line::line_of(event, &self.zone, self.layout));
        writeln!(out, "{}", paint(&line, self.has_colours))
    }
}

impl Publisher {
    pub fn new(jetstream: &JetStream, prefix: &str) -> Publisher {
        Publisher {
            jetstream: jetstream.clone(),
            subjects: Subjects::new(prefix),
            run: Timestamp::now().as_millisecond(),
            published: 0,
        }
    }

    async fn publish(&mut self, difference: Difference, event: &Event) -> Result<(), Exit> {
        let failed =
            |error: &dyn std::fmt::Display| Exit::Unavailable(format!("publishing an event: {error}"));
        self.published += 1;
        let kind = event.kind().to_string();
        let tail = format!("r{}-{}", self.run, self.published);
        let headers = headers(&kind, &event.source, event.job, &tail, &event.time.to_string());
        let body = body(difference, event).map_err(|error| failed(&error))?;
        let subject = self.subjects.replay(&kind, &event.source, event.job);
        let client = self.jetstream.client();
        let published = client.publish_with_headers(subject, headers, body.to_string().into()).await;
        published.map_err(|error| failed(&error))
    }

    async fn flush(&self) -> Result<(), Exit> {
        let named = self.subjects.replay("", "", uuid::Uuid::nil());
        let named = named.split("..").next().unwrap_or_default();
        let client = self.jetstream.client();
        let flushed = self.jetstream.unless_refused(&[named], client.flush()).await;
        flushed
            .map_err(|refused| Exit::Unavailable(refused.to_string()))?
            .map_err(|error| Exit::Unavailable(format!("publishing the events: {error}")))
    }
}

impl Progress {
    fn erase(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            // A terminal that is gone shows no progress.
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

fn body(difference: Difference, event: &Event) -> Result<Value, serde_json::Error> {
    let mut body = serde_json::to_value(event)?;
    body["difference"] = serde_json::to_value(difference)?;
    Ok(body)
}
