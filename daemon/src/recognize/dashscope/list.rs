//! The service's list of tasks, page by page.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::answers::{Status, TaskList, TaskRow};
use super::client::{Client, missing};
use crate::recognize::error::{Error, When};

/// The largest page that the service returns.
const PAGE: usize = 100;
/// The most pages that are read, newest first: with 100 submits a minute, the tasks of the last three hours.
const PAGES: usize = 200;
/// The most pages that are read for the state of a thousand tasks: some rows may be other clients' tasks.
const ENDED_PAGES: usize = 40;
/// Clocks differ, and the request left before the daemon gave it up.
pub(super) const MARGIN: Duration = Duration::from_secs(600);

/// A part of the list.
#[derive(Debug)]
pub(super) struct Listed {
    /// Newest first.
    pub(super) rows: Vec<TaskRow>,
    /// The list was read to its end.
    pub(super) is_complete: bool,
}

impl TaskRow {
    pub(super) fn has_ended(&self) -> bool {
        self.status != Status::Open
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.gmt_create?).ok()
    }

    /// Whether this may be a task of this model that was created in this time; a field that the row lacks excludes nothing.
    pub(super) fn may_be(&self, model: &str, since: Timestamp, until: Option<Timestamp>) -> bool {
        let is_model = |other: &String| other.starts_with(model) || model.starts_with(other.as_str());
        let is_in_time = |created: Timestamp| {
            created >= since - MARGIN && until.is_none_or(|until| created <= until + MARGIN)
        };
        self.model_name.as_ref().is_none_or(is_model) && self.created().is_none_or(is_in_time)
    }
}

/// All rows since then, of all models: a service that lists a task under the dated name of its model might leave out the daemon's tasks,
/// and a task that is missing in the list is paid again without notice.
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

/// Which of these tasks have ended, according to the list: one call covers a hundred tasks. `since`: not after the first was created.
pub(super) async fn ended(
    client: &Client,
    model: &str,
    since: Timestamp,
    tasks: &HashSet<String>,
) -> Result<HashMap<String, bool>, Error> {
    let mut ended = HashMap::new();
    for number in 1..=ENDED_PAGES {
        // Only under this model's name: if the service lists the tasks under another name, they are polled one by one.
        let page = page(client, since, number, Some(model)).await.map_err(|error| {
            // A list that cannot be read now will not be readable in a minute.
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

/// `model`: the service leaves out tasks of other models.
async fn page(client: &Client, since: Timestamp, number: usize, model: Option<&str>) -> Result<Page, Error> {
    // The time zone is not documented. A start in UTC is right if the service reads UTC, and eight hours too early if it reads Beijing
    // time: then the list has more rows. An end in UTC could leave out the daemon's tasks, so none is sent.
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
        // Ten minutes are allowed for clocks that differ.
        for (created, ours) in [(1_399, false), (1_400, true), (2_500, true), (3_600, true), (3_601, false)] {
            assert_eq!(may_be(row("m", Some(created))), ours, "{created}");
        }
        assert!(!may_be(row("n", Some(2_500))));
        assert!(may_be(row("m-2025-11-17", Some(2_500))), "the same model by its date");
        assert!(may_be(row("m", None)), "a row without a time");
    }
}
