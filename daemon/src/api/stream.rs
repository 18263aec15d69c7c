//! `/api/events`: what is published, as server-sent events.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Line, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};
use hark_sdk::event::is_token;
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::warn;
use uuid::Uuid;

use super::jobs::job_id;
use super::problem::Problem;
use super::state::Api;
use crate::job::ledger::view::{self, LedgerEvent};
use crate::job::ledger::{Ledger, LedgerError, outbox};
use crate::publish::{Feed, Published};

/// How many stored events are read from the ledger at a time.
const PAGE: usize = 200;

/// How many events that were sent are remembered: an event that is read from the ledger is also on its way through the feed.
const REMEMBERED: usize = 2_048;

/// A comment is sent after this much silence, so that proxies keep the connection.
const SILENCE: Duration = Duration::from_secs(15);

/// The families of events.
const FAMILIES: [&str; 5] = ["job", "transcript", "annotation", "alert", "plugin"];

/// Which events a listener wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    /// `family.name` or `family`; empty: all.
    kinds: Vec<String>,
    source: Option<String>,
    job: Option<Uuid>,
    /// The stream sequence of the last event that the client received; stored events after it, and missed ones before it, are sent first.
    after: Option<u64>,
}

impl Wanted {
    fn of(query: &str, headers: &HeaderMap) -> Result<Wanted, Problem> {
        let mut wanted = Wanted::default();
        let number = |text: &str| {
            // The ledger has the sequences as signed numbers.
            let number = text.parse().ok().filter(|number| *number <= i64::MAX as u64);
            number.ok_or_else(|| {
                Problem::bad(format!(
                    "{text:?} is no event id; the id of an event is its sequence in the stream"
                ))
            })
        };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (key.as_ref(), value.as_ref()) {
                ("kind" | "source" | "job" | "last_event_id", "") => {}
                ("kind", kinds) => {
                    for kind in kinds.split(',') {
                        wanted.kinds.push(kind_filter(kind)?);
                    }
                }
                ("source", source) => wanted.source = Some(source.to_owned()),
                ("job", job) => wanted.job = Some(job_id(job)?),
                ("last_event_id", id) => wanted.after = Some(number(id)?),
                (key, _) => {
                    return Err(Problem::bad(format!("{key:?} is none of kind, source, job, last_event_id")));
                }
            }
        }
        if let Some(id) = headers.get("last-event-id").and_then(|id| id.to_str().ok()) {
            wanted.after = Some(number(id)?);
        }
        Ok(wanted)
    }

    fn wants(&self, kind: &str, source: &str, job: Uuid) -> bool {
        let is_kind = |wanted: &String| {
            kind.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.kinds.is_empty() || self.kinds.iter().any(is_kind))
            && self.source.as_deref().is_none_or(|wanted| wanted == source)
            && self.job.is_none_or(|wanted| wanted == job)
    }
}

/// `family.name` or a whole family, also as `family.*`.
fn kind_filter(kind: &str) -> Result<String, Problem> {
    let kind = kind.trim().trim_end_matches(".*");
    let (family, name) = kind.split_once('.').unwrap_or((kind, "any"));
    if FAMILIES.contains(&family) && is_token(name) {
        return Ok(kind.to_owned());
    }
    Err(Problem::bad(format!(
        "kind={kind:?} is no kind of event: such as transcript.final, or alert for all of a family"
    )))
}

/// `GET /api/events`.
pub(super) async fn events(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Line, Infallible>>>, Problem> {
    let wanted = Wanted::of(query.as_deref().unwrap_or_default(), &headers)?;
    let handles = api.handles()?;
    let place = api.stream()?;
    let listener = Listener::begin(wanted, handles.ledger.clone(), &handles.feed).await?;
    let lines = stream::unfold((listener, place), |(mut listener, place)| async move {
        let line = listener.next().await?;
        Some((Ok(line), (listener, place)))
    });
    let stop = api.stop();
    let lines = lines.take_until(stop.cancelled_owned());
    Ok(Sse::new(lines).keep_alive(KeepAlive::new().interval(SILENCE)))
}

/// One client of the stream. In memory it holds at most one page of stored events, and what the feed buffers.
struct Listener {
    wanted: Wanted,
    ledger: Ledger,
    feed: broadcast::Receiver<Arc<Published>>,
    /// Position in the ledger while stored events may be left to send; `None`: the feed has all further events.
    cursor: Option<Cursor>,
    /// Read from the ledger, not sent yet.
    behind: VecDeque<LedgerEvent>,
    sent: Sent,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// The sequence of the last event that the listener was sent before it missed some.
    last: u64,
    /// The sequence of the last event that was read from the ledger.
    from: u64,
}

impl Cursor {
    fn behind(last: u64) -> Cursor {
        Cursor { last, from: 0 }
    }
}

impl Listener {
    /// # Errors
    /// When the ledger cannot be read.
    async fn begin(wanted: Wanted, ledger: Ledger, feed: &Feed) -> Result<Listener, LedgerError> {
        let begin = match wanted.after {
            Some(after) => after,
            // Read before the feed is opened: a client that lags before its first event continues after this event.
            None => ledger.read(outbox::newest_stored).await?,
        };
        // The feed is opened before the ledger is read: events stored during the read arrive through the feed.
        let feed = feed.listen();
        let (cursor, behind, sent) = (wanted.after.map(Cursor::behind), VecDeque::new(), Sent::behind(begin));
        Ok(Listener { wanted, ledger, feed, cursor, behind, sent })
    }

    /// The next event; `None`: the ledger cannot be read, or the daemon ends.
    async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(event) = self.behind.pop_front() {
                if let Some(line) = self.stored(event) {
                    return Some(line);
                }
                continue;
            }
            if let Some(Cursor { last, from }) = self.cursor {
                let read = move |connection: &_| view::stored_after(connection, last, from, PAGE);
                let page = readable(self.ledger.read(read).await)?;
                let newest = page.last().and_then(|event| event.stream_seq).filter(|_| page.len() == PAGE);
                self.cursor = newest.map(|from| Cursor { last, from });
                self.behind.extend(page);
                continue;
            }
            match self.feed.recv().await {
                Ok(event) => {
                    let line = self.published(&event).await;
                    if let Some(line) = readable(line)? {
                        return Some(line);
                    }
                }
                // The client missed events of the feed; the stored ones among them are in the ledger.
                Err(RecvError::Lagged(_)) => self.cursor = Some(Cursor::behind(self.sent.last)),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn stored(&mut self, event: LedgerEvent) -> Option<Line> {
        let stream_seq = event.stream_seq?;
        let is_new = self.sent.note((event.job, event.sequence), stream_seq);
        let is_wanted = self.wanted.wants(&event.kind, &event.source, event.job);
        (is_new && is_wanted).then(|| line(&event.kind, Some(stream_seq), event.body.get()))
    }

    async fn published(&mut self, event: &Published) -> Result<Option<Line>, LedgerError> {
        let stored = event.sequence.zip(event.stream_seq);
        if stored.is_some_and(|(sequence, stream_seq)| !self.sent.note((event.job, sequence), stream_seq))
            || !self.wanted.wants(&event.kind, &event.source, event.job)
        {
            return Ok(None);
        }
        let body = match &event.body {
            Some(body) => String::from_utf8_lossy(body).into_owned(),
            None => {
                let (job, sequence) = (event.job, event.sequence.unwrap_or_default());
                let read = move |connection: &_| view::body(connection, job, sequence);
                // A job that another daemon has taken over meanwhile is not here any more.
                let Some(body) = self.ledger.read(read).await? else { return Ok(None) };
                body
            }
        };
        Ok(Some(line(&event.kind, event.stream_seq, &body)))
    }
}

/// The result of a read. If the ledger cannot be read, the daemon ends the stream; the client may return with the id of its last event.
fn readable<T>(read: Result<T, LedgerError>) -> Option<T> {
    read.inspect_err(|error| warn!(%error, "event stream of a client ended: the ledger cannot be read")).ok()
}

fn line(kind: &str, stream_seq: Option<u64>, body: &str) -> Line {
    let line = Line::default().event(kind).data(body);
    match stream_seq {
        Some(id) => line.id(id.to_string()),
        None => line,
    }
}

/// The newest events that were sent, by job and sequence. The stream sequence is no key: a recreated stream counts from 1 again.
struct Sent {
    known: HashSet<(Uuid, u64)>,
    order: VecDeque<(Uuid, u64)>,
    /// The highest sequence that was sent; before the first event, the sequence that the listener begins behind.
    last: u64,
}

impl Sent {
    fn behind(begin: u64) -> Sent {
        Sent { known: HashSet::new(), order: VecDeque::new(), last: begin }
    }

    /// Whether an event is new.
    fn note(&mut self, event: (Uuid, u64), stream_seq: u64) -> bool {
        if !self.known.insert(event) {
            return false;
        }
        self.order.push_back(event);
        self.last = self.last.max(stream_seq);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests;
