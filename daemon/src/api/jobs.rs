//! `/api/jobs`: lists, single jobs, their events.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::{TryStreamExt, stream};
use hark_sdk::event::Recording;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::warn;
use uuid::Uuid;

use super::csv::csv;
use super::extract::InPath;
use super::problem::Problem;
use super::state::Api;
use super::words::Words;
use crate::job::ledger::view::{self, Filter, LedgerEvent, Listed, Page};
use crate::job::ledger::{Ledger, LedgerError, jobs, pieces};

/// How many stored events are read from the ledger at a time.
const EVENTS: usize = 200;

/// `GET /api/jobs`.
pub(super) async fn list(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let filter = filter(&query)?;
    let page = page(&api, filter).await?;
    if prefers_csv(&headers) {
        let kinds = [
            (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"hark-jobs.csv\""),
        ];
        // A table has no place for the next page.
        let next = page.next.map(|next| {
            let link = format!("<?{}>; rel=\"next\"", before(&query, next));
            [(header::LINK, link)]
        });
        return Ok((kinds, next, csv(&page)).into_response());
    }
    Ok(Json(page).into_response())
}

/// The query of the next page: the same filters, with `before` set to the last job of this page.
fn before(query: &str, job: Uuid) -> String {
    let others = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key != "before");
    let mut next = url::form_urlencoded::Serializer::new(String::new());
    next.extend_pairs(others).append_pair("before", &job.to_string()).finish()
}

/// Reads the filter of an address.
///
/// # Errors
/// 400 for an unknown key, a key that occurs twice, or an invalid value.
pub(super) fn filter(query: &str) -> Result<Filter, Problem> {
    let (mut filter, mut seen) = (Filter::default(), Vec::new());
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        filter.set(&key, &value, Timestamp::now()).map_err(|wrong| Problem::bad(wrong.to_string()))?;
        if seen.contains(&key) {
            return Err(Problem::bad(format!("the query has {key} twice")));
        }
        seen.push(key);
    }
    Ok(filter)
}

/// The jobs that a filter lets through.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) async fn page(api: &Api, filter: Filter) -> Result<Page, Problem> {
    let handles = api.handles()?;
    let moment = handles.steer.moment();
    Ok(handles.ledger.read(move |connection| view::list(connection, &filter, &moment)).await?)
}

/// A job with what a list does not show.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Shown {
    #[serde(flatten)]
    listed: Listed,
    recording: Recording,
    /// The pieces in which it is sent.
    pieces: Pieces,
    /// What was said last, while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_words: Option<Words>,
    /// Whether `…/audio` plays it.
    playable: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Pieces {
    total: usize,
    heard: usize,
    failed: usize,
}

/// `GET /api/jobs/<id>`.
pub(super) async fn show(State(api): State<Api>, InPath(id): InPath) -> Result<Json<Shown>, Problem> {
    let handles = api.handles()?;
    let (id, moment) = (job_id(&id)?, handles.steer.moment());
    let read = move |connection: &_| {
        let Some(listed) = view::find(connection, id, &moment)? else { return Ok(None) };
        let Some(job) = jobs::find(connection, id)? else { return Ok(None) };
        Ok(Some((listed, job, pieces::tally(connection, id)?)))
    };
    let Some((listed, job, (total, heard, failed))) = handles.ledger.read(read).await? else {
        return Err(unknown(id));
    };
    let playable = super::audio::is_playable(handles, &job);
    let pieces = Pieces { total, heard, failed };
    Ok(Json(Shown { listed, recording: job.recording, pieces, last_words: handles.words.of(id), playable }))
}

/// A job's events.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Events {
    events: Vec<StoredEvent>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct StoredEvent {
    /// As `ce-id`.
    id: String,
    #[serde(flatten)]
    event: LedgerEvent,
}

/// `GET /api/jobs/<id>/events`. They are read and sent in parts: a long call with alerts has thousands, and texts of megabytes.
pub(super) async fn events(State(api): State<Api>, InPath(id): InPath) -> Result<Response, Problem> {
    let id = job_id(&id)?;
    let ledger = api.handles()?.ledger.clone();
    let first = events_after(&ledger, id, 0).await?;
    if first.is_empty() && ledger.find(id).await?.is_none() {
        return Err(unknown(id));
    }
    let parts = stream::try_unfold(Some((ledger, first, "{\"events\":[")), move |rest| async move {
        let Some((ledger, part, before)) = rest else { return Ok(None) };
        let last = part.last().map(|event| event.sequence);
        let mut text = before.as_bytes().to_vec();
        for (at, event) in part.into_iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            let event = StoredEvent { id: format!("{id}:{}", event.sequence), event };
            serde_json::to_writer(&mut text, &event)?;
        }
        let next = match last {
            Some(last) => events_after(&ledger, id, last).await?,
            None => Vec::new(),
        };
        if next.is_empty() {
            text.extend(b"]}");
            return Ok(Some((text, None)));
        }
        Ok::<_, axum::BoxError>(Some((text, Some((ledger, next, ",")))))
    });
    // After an error the answer breaks off in the middle, which the client can see.
    let parts =
        parts.inspect_err(move |error| warn!(job = %id, %error, "the events of a job cannot be read"));
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(parts)).into_response())
}

async fn events_after(ledger: &Ledger, job: Uuid, sequence: u64) -> Result<Vec<LedgerEvent>, LedgerError> {
    ledger.read(move |connection| view::events_after(connection, job, sequence, EVENTS)).await
}

/// # Errors
/// 400 where it is no id.
pub(super) fn job_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::bad(format!("{text:?} is no id of a job: a UUID")))
}

/// 404.
pub(super) fn unknown(job: Uuid) -> Problem {
    Problem::unknown(format!(
        "this daemon has no job {job}; it keeps jobs for state.keep, and shows none of other daemons"
    ))
}

/// Whether a client prefers a table to JSON (`Accept`, RFC 9110, 12.5.1).
fn prefers_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let quality = |wanted: &str| {
        accept.split(',').find_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            (parts.next() == Some(wanted))
                .then(|| parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0))
        })
    };
    let csv = quality("text/csv").unwrap_or_default();
    csv > 0.0 && csv >= quality("application/json").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_for_clients_that_prefer_it() {
        let prefers =
            |accept: &str| prefers_csv(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]));
        for accept in [
            "text/csv",
            "text/csv; charset=utf-8",
            "text/html, text/csv;q=0.5",
            "text/csv, application/json;q=0.9",
        ] {
            assert!(prefers(accept), "{accept}");
        }
        for accept in ["*/*", "application/json", "text/csv;q=0", "application/json, text/csv;q=0.5"] {
            assert!(!prefers(accept), "{accept}");
        }
    }

    #[test]
    fn the_next_page_has_the_filters_of_this_one() {
        let job = Uuid::nil();
        let query = "text=a+%26+b&before=2026-01-01T00:00:00Z&limit=2";
        assert_eq!(before(query, job), format!("text=a+%26+b&limit=2&before={job}"));
        assert_eq!(before("", job), format!("before={job}"));
    }
}
