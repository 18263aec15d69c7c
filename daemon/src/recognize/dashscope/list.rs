//! The service's list of tasks, page by page. Nobody documents its rows well, so that much is accepted.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap};
use serde_json::Value;
use tracing::debug;

use super::client::{Client, missing};
use crate::recognize::error::{Error, When};
use crate::recognize::http::unanswered;
use crate::recognize::pacer::Calls;

/// A row of the task list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskRow {
    pub(super) task_id: String,
    /// `PENDING`, `RUNNING`, `SUCCEEDED`, …
    pub(super) status: String,
    pub(super) created: Option<Timestamp>,
}

/// Tasks of a model that were made in a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) model: &'a str,
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
}

impl Span<'_> {
    /// Whether a task that was made then may be in it; where nobody says when, it may.
    pub(super) fn takes(&self, created: Option<Timestamp>) -> bool {
        let is_before = |created: Timestamp| created < self.since - MARGIN;
        let is_after = |created: Timestamp| self.until.is_some_and(|until| created > until + MARGIN);
        created.is_none_or(|created| !is_before(created) && !is_after(created))
    }
}

/// Most rows that the service gives at once.
const PAGE: usize = 100;
/// How often a page is asked for.
const PAGE_TRIES: u32 = 4;
/// Pages read at most, newest first: with 100 submits a minute, those of the last three hours.
const PAGES: usize = 200;
/// Pages read to hear how a thousand tasks stand: some may be strangers'.
const SURVEY_PAGES: usize = 40;
/// Clocks differ, and the request left before it was given up.
pub(super) const MARGIN: Duration = Duration::from_secs(600);

/// A time before this (in 1973) is of no task, but told in seconds.
const FIRST_MILLISECOND: i64 = 100_000_000_000;

/// Names of the number of rows on all pages.
const TOTAL: [&str; 2] = ["total", "total_count"];

pub(super) const SUCCEEDED: &str = "SUCCEEDED";
pub(super) const FAILED: &str = "FAILED";

/// What the list has of a span.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) rows: Vec<TaskRow>,
    /// The ids of all rows, also of those outside the span.
    pub(super) shown: HashSet<String>,
    /// It was read to its end, and every row of it.
    pub(super) is_complete: bool,
    /// It told fewer rows than it says that there are.
    pub(super) is_short: bool,
    /// The service's clock and ours differ by so much that the span is not the one that was meant.
    pub(super) clocks_differ: bool,
}

/// All rows of a span. Of all models: a service that lists a task under the dated name of its model might leave ours out, and what is not
/// there is paid again in silence.
pub(super) async fn everything(client: &Client, queries: &Calls, span: &Span<'_>) -> Result<Listed, Error> {
    let (mut rows, mut shown, mut clocks_differ) = (Vec::new(), HashSet::new(), false);
    let (mut total, mut said_last, mut unread) = (None, false, false);
    for number in 1..=PAGES {
        let mut tries = 1;
        let page = loop {
            match page(client, queries, span, number, None).await {
                // A service that has no page behind its last one. What is looked for may stand on those before.
                Err(error) if number > 1 && error.when == When::Never => break None,
                // One page that does not come is no reason to begin anew.
                Err(error) if tries < PAGE_TRIES && error.when != When::Never => {
                    debug!(number, %error, "a page of the task list does not come");
                    tries += 1;
                }
                outcome => break Some(outcome?),
            }
        };
        let before = shown.len();
        let is_read = page.is_some();
        if let Some(page) = page {
            shown.extend(page.listed);
            rows.extend(page.rows);
            clocks_differ |= page.clocks_differ;
            unread |= page.unread;
            // As it was when the reading began: what comes meanwhile is others'.
            total = total.or(page.total);
            said_last = page.is_last == Some(true);
        }
        // The end is where a page brings nothing new. What a list says of its length may be wrong, and a row that was not read would be a
        // recording that is paid again in silence.
        if shown.len() == before {
            let is_short = total.is_some_and(|total| (shown.len() as u64) < total);
            let is_complete = (is_read || said_last) && !unread;
            return Ok(Listed { rows, shown, is_complete, is_short, clocks_differ });
        }
    }
    Ok(Listed { rows, shown, is_complete: false, is_short: false, clocks_differ })
}

/// Which of these tasks have ended, as far as the list tells: a hundred of them in one call. `since`: not after the first was made.
pub(super) async fn ended(
    client: &Client,
    queries: &Calls,
    model: &str,
    since: Timestamp,
    tasks: &HashSet<String>,
) -> Result<HashMap<String, bool>, Error> {
    let span = Span { model, since, until: None };
    let mut ended = HashMap::new();
    for number in 1..=SURVEY_PAGES {
        // By this name or by none, and then they are asked one by one.
        let page = page(client, queries, &span, number, Some(model)).await.map_err(|error| {
            // A list that is not understood today will not be in a minute.
            let when = if error.is_unreadable() { When::Never } else { error.when.clone() };
            Error { when, ..error }
        })?;
        let is_last = page.is_last.unwrap_or(page.listed.len() < PAGE);
        let ours = page.rows.into_iter().filter(|row| tasks.contains(&row.task_id));
        ended.extend(ours.map(|row| (row.has_ended(), row.task_id)).map(|(ended, task)| (task, ended)));
        if is_last || ended.len() == tasks.len() {
            break;
        }
    }
    Ok(ended)
}

/// A page of the list.
struct Page {
    /// Rows that are in the span, newest first.
    rows: Vec<TaskRow>,
    /// The ids of all its rows.
    listed: Vec<String>,
    /// Some row has no id, or none where it is looked for.
    unread: bool,
    /// `None`: the service does not say.
    is_last: Option<bool>,
    /// Rows of all pages, where the service says so.
    total: Option<u64>,
    clocks_differ: bool,
}

/// `only`: let the service leave out tasks of other models, by a name that it may know in another form.
async fn page(
    client: &Client,
    queries: &Calls,
    span: &Span<'_>,
    number: usize,
    only: Option<&str>,
) -> Result<Page, Error> {
    // Nobody documents the zone. Written in UTC the time is right if it is UTC, and eight hours too early if it is Beijing's: then more
    // is listed. An end written so would leave ours out.
    let start = (span.since - MARGIN).strftime("%Y%m%d%H%M%S").to_string();
    let query = [("page_no", number.to_string()), ("page_size", PAGE.to_string()), ("start_time", start)];
    let call = client.get(&["tasks"]).query(&query).query(&[("model_name", only)]);
    let answer = queries
        .free(async {
            let response = call.send().await.map_err(unanswered)?;
            let clocks_differ = differ(response.headers(), Timestamp::now());
            Ok((client.json(response).await.map_err(|error| Error { raw: None, ..error })?, clocks_differ))
        })
        .await?;
    let (answer, clocks_differ) = answer;
    let listed = rows_of(&answer, number).ok_or_else(|| missing("list of tasks"))?;
    let ids: Vec<String> =
        listed.iter().filter_map(|row| Some(text_of(row, &["task_id"])?.to_owned())).collect();
    Ok(Page {
        rows: listed.iter().filter_map(|row| read_row(row, span)).collect(),
        unread: ids.len() < listed.len(),
        listed: ids,
        is_last: is_last(&answer, number, listed.len()),
        total: number_of(&answer, &TOTAL),
        clocks_differ,
    })
}

/// Whether an answer's `Date` is further from `now` than what [`MARGIN`] leaves room for. A service that does not say is believed.
fn differ(headers: &HeaderMap, now: Timestamp) -> bool {
    let date = || jiff::fmt::rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok();
    date().is_some_and(|date| date.timestamp().duration_since(now).unsigned_abs() > MARGIN / 2)
}

/// Whether page `number` with so many `rows` is the last one, by the answer's paging numbers; `None` where there are none.
fn is_last(answer: &Value, number: usize, rows: usize) -> Option<bool> {
    if rows == 0 {
        return Some(true);
    }
    if let Some(pages) = number_of(answer, &["total_page", "total_pages"]) {
        return Some(number as u64 >= pages);
    }
    let size = number_of(answer, &["page_size"]);
    match number_of(answer, &TOTAL) {
        // A page before the last one is full, whatever was asked for.
        Some(total) => Some(number as u64 * size.unwrap_or(rows as u64).max(rows as u64) >= total),
        None => size.filter(|size| *size > rows as u64).map(|_| true),
    }
}

/// A paging number, wherever it stands; some services write numbers as text.
fn number_of(answer: &Value, names: &[&str]) -> Option<u64> {
    let places = [answer, &answer["output"], &answer["data"]];
    let read = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    places.into_iter().find_map(|place| names.iter().find_map(|name| read(place.get(name)?)))
}

/// Documents and SDKs disagree about the field, and about whether the answer is flat. Some services write null where there are none; that
/// is believed of one that says how many there are, or has told of others on a page before.
fn rows_of(answer: &Value, number: usize) -> Option<&[Value]> {
    let places = [answer, &answer["output"], &answer["data"]];
    let lists = || {
        places
            .into_iter()
            .flat_map(|place| ["tasks", "data", "rows"].into_iter().filter_map(|name| place.get(name)))
    };
    let rows = lists().find_map(Value::as_array).map(Vec::as_slice);
    let is_list = || number > 1 || number_of(answer, &TOTAL).is_some();
    rows.or_else(|| (lists().any(Value::is_null) && is_list()).then_some(&[]))
}

impl TaskRow {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), SUCCEEDED | FAILED | "CANCELED" | "CANCELLED" | "UNKNOWN")
    }
}

fn text_of<'a>(row: &'a Value, names: &[&str]) -> Option<&'a str> {
    let places = [row, &row["output"]];
    places.into_iter().find_map(|place| names.iter().find_map(|name| place.get(name)?.as_str()))
}

fn read_row(row: &Value, span: &Span<'_>) -> Option<TaskRow> {
    let text = |names: &[&str]| text_of(row, names);
    // A name without a date stands for one with a date, and either may be listed.
    let is_same = |other: &str| other.starts_with(span.model) || span.model.starts_with(other);
    if text(&["model_name", "model"]).is_some_and(|other| !is_same(other)) {
        return None;
    }
    // Milliseconds since the epoch have no zone: where they stand, they tell what came before our request, and after its end.
    let created = row["gmt_create"].as_i64().filter(|time| *time >= FIRST_MILLISECOND);
    let created = created.and_then(|time| Timestamp::from_millisecond(time).ok());
    if !span.takes(created) {
        return None;
    }
    let task_id = text(&["task_id"])?.to_owned();
    Some(TaskRow {
        task_id,
        status: text(&["task_status", "status"]).unwrap_or_default().to_ascii_uppercase(),
        created,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(since: i64, until: Option<i64>) -> Span<'static> {
        let time = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        Span { model: "m", since: time(since), until: until.map(time) }
    }

    #[test]
    fn rows_are_found_wherever_they_stand() {
        let rows = json!([{"task_id": "a", "status": "SUCCEEDED"}, {"output": {"task_id": "b", "task_status": "RUNNING"}}]);
        for answer in [
            json!({"tasks": rows}),
            json!({"data": rows}),
            json!({"output": {"tasks": rows}}),
            json!({"data": {"tasks": rows}}),
        ] {
            let listed = rows_of(&answer, 1).unwrap();
            let read: Vec<_> = listed.iter().filter_map(|row| read_row(row, &span(0, None))).collect();
            assert_eq!(read.len(), 2, "{answer}");
            assert_eq!((read[1].task_id.as_str(), read[1].status.as_str()), ("b", "RUNNING"));
        }
        assert!(rows_of(&json!({"total": 0}), 1).is_none());
    }

    #[test]
    fn no_rows_may_be_written_as_null() {
        let none = |answer: &Value, number: usize| rows_of(answer, number).is_some_and(<[Value]>::is_empty);
        for (answer, first) in [
            (json!({"tasks": null, "total": 0}), true),
            (json!({"output": {"data": null, "total_count": "0"}}), true),
            (json!({"data": {"rows": null}}), false),
            (json!({"code": "", "data": null}), false),
        ] {
            assert_eq!(none(&answer, 1), first, "{answer}: it may be no list at all");
            assert!(none(&answer, 2), "{answer}: it was one on the page before");
        }
        assert!(rows_of(&json!({"total": 0, "tasks": "none"}), 2).is_none());
        assert_eq!(rows_of(&json!({"tasks": null, "data": [1]}), 1).map(<[Value]>::len), Some(1));
    }

    #[test]
    fn rows_of_other_models_and_times_are_left_out() {
        const BEGIN: i64 = 1_800_000_000;
        let span = span(BEGIN + 2_000, Some(BEGIN + 3_000));
        let row = |model: &str, seconds: i64| json!({"task_id": "a", "status": "PENDING", "model_name": model, "gmt_create": (BEGIN + seconds) * 1_000});
        // Ten minutes are left to clocks that differ.
        let table = [(1_399, false), (1_400, true), (2_500, true), (3_600, true), (3_601, false)];
        for (created, ours) in table {
            assert_eq!(read_row(&row("m", created), &span).is_some(), ours, "{created}");
        }
        assert!(read_row(&row("n", 2_500), &span).is_none());
        assert!(read_row(&row("m-2025-11-17", 2_500), &span).is_some(), "the same model by its date");
        assert!(read_row(&json!({"task_id": "a"}), &span).is_some(), "a row without a time");
    }

    #[test]
    fn a_clock_may_be_some_minutes_off() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let date = |seconds: i64| {
            let date = Timestamp::from_second(1_800_000_000 + seconds).unwrap();
            let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            HeaderMap::from_iter([(DATE, date.parse().unwrap())])
        };
        for (seconds, expected) in [(0, false), (299, false), (-299, false), (301, true), (-3_600, true)] {
            assert_eq!(differ(&date(seconds), now), expected, "{seconds}");
        }
        assert!(!differ(&HeaderMap::new(), now));
    }

    #[test]
    fn a_page_is_the_last_only_where_the_service_says_so() {
        let table = [
            (json!({"total_page": 3}), 2, 10, Some(false)),
            (json!({"total_page": 3}), 3, 1, Some(true)),
            (json!({"output": {"total": 25, "page_size": 10}}), 2, 10, Some(false)),
            (json!({"total": 25, "page_size": 10}), 3, 5, Some(true)),
            (json!({"total_count": 20}), 1, 10, Some(false)),
            (json!({"page_size": 100}), 1, 99, Some(true)),
            (json!({"page_size": 10}), 1, 10, None),
            (json!({}), 1, 10, None),
            (json!({}), 2, 0, Some(true)),
        ];
        for (answer, number, rows, expected) in table {
            assert_eq!(is_last(&answer, number, rows), expected, "{answer} {number} {rows}");
        }
    }
}
