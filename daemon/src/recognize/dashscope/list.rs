//! The service's list of tasks, page by page.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::answers::{Status, TaskList, TaskRow};
use super::client::{Client, missing};
use crate::recognize::error::{Error, When};

/// Most rows that the service gives at once.
const PAGE: usize = 100;
/// Pages read at most, newest first: with 100 submits a minute, those of the last three hours.
const PAGES: usize = 200;
/// Pages read to hear how a thousand tasks stand: some may be strangers'.
const ENDED_PAGES: usize = 40;
/// Clocks differ, and the request left before it was given up.
pub(super) const MARGIN: Duration = Duration::from_secs(600);

/// A stretch of the list.
#[derive(Debug)]
pub(super) struct Listed {
    /// Newest first.
    pub(super) rows: Vec<TaskRow>,
    /// It was read to its end.
    pub(super) is_complete: bool,
}

impl TaskRow {
    pub(super) fn has_ended(&self) -> bool {
        self.status != Status::Open
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.gmt_create?).ok()
    }

    /// Whether it may be a task of this model that was made in this time; what the row does not tell, it may be.
    pub(super) fn may_be(&self, model: &str, since: Timestamp, until: Option<Timestamp>) -> bool {
        let is_model = |other: &String| other.starts_with(model) || model.starts_with(other.as_str());
        let is_in_time = |created: Timestamp| {
            created >= since - MARGIN && until.is_none_or(|until| created <= until + MARGIN)
        };
        self.model_name.as_ref().is_none_or(is_model) && self.created().is_none_or(is_in_time)
    }
}

/// All rows since then. Of all models: a service that lists a task under the dated name of its model might leave ours out, and what is
/// not there is paid again in silence.
pub(super) async fn everything(client: &Client, since: Timestamp) -> Result<Listed, Error> {
    let mut rows = Vec::new();
    for number in 1..=PAGES {
        let page = page(client, since, number, None).await?;
        rows.extend(page.rows);
        if page.is_last {
            return Ok(Listed { rows, is_complete: true });
        }
    }
    Ok(Listed { rows, is_complete: false })
}

/// Which of these tasks have ended, as far as the list tells: a hundred of them in one call. `since`: not after the first was made.
pub(super) async fn ended(
    client: &Client,
    model: &str,
    since: Timestamp,
    tasks: &HashSet<String>,
) -> Result<HashMap<String, bool>, Error> {
    let mut ended = HashMap::new();
    for number in 1..=ENDED_PAGES {
        // By this name or by none, and then they are polled one by one.
        let page = page(client, since, number, Some(model)).await.map_err(|error| {
            // A list that is not understood today will not be in a minute.
            let when = if error.is_unreadable() { When::Never } else { error.when.clone() };
            Error { when, ..error }
        })?;
        let ours = page.rows.into_iter().filter(|row| tasks.contains(&row.task_id));
        ended.extend(ours.map(|row| (row.has_ended(), row.task_id)).map(|(ended, task)| (task, ended)));
        if page.is_last || ended.len() == tasks.len() {
            break;
        }
    }
    Ok(ended)
}

struct Page {
    rows: Vec<TaskRow>,
    is_last: bool,
}

/// `model`: let the service leave out tasks of other models.
async fn page(client: &Client, since: Timestamp, number: usize, model: Option<&str>) -> Result<Page, Error> {
    // The zone is not documented. Written in UTC the time is right if it is UTC, and eight hours too early if it is Beijing's: then
    // more is listed. An end written so would leave ours out.
    let start = (since - MARGIN).strftime("%Y%m%d%H%M%S").to_string();
    let query = [("page_no", number.to_string()), ("page_size", PAGE.to_string()), ("start_time", start)];
    let call = client.get(&["tasks"]).query(&query).query(&[("model_name", model)]);
    let list: TaskList = client.queries.free(client.free(call)).await?;
    let is_last = number >= list.total_page;
    let rows = list.rows().ok_or_else(|| missing("list of tasks"))?;
    Ok(Page { rows, is_last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_models_and_times_are_left_out() {
        const BEGIN: i64 = 1_800_000_000;
        let time = |seconds: i64| Timestamp::from_second(BEGIN + seconds).unwrap();
        let row = |model: &str, created: Option<i64>| TaskRow {
            task_id: "a".into(),
            status: Status::Open,
            model_name: Some(model.into()),
            gmt_create: created.map(|seconds| (BEGIN + seconds) * 1_000),
        };
        let may_be = |row: TaskRow| row.may_be("m", time(2_000), Some(time(3_000)));
        // Ten minutes are left to clocks that differ.
        for (created, ours) in [(1_399, false), (1_400, true), (2_500, true), (3_600, true), (3_601, false)] {
            assert_eq!(may_be(row("m", Some(created))), ours, "{created}");
        }
        assert!(!may_be(row("n", Some(2_500))));
        assert!(may_be(row("m-2025-11-17", Some(2_500))), "the same model by its date");
        assert!(may_be(row("m", None)), "a row without a time");
    }
}
