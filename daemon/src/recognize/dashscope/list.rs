//! The service's list of tasks, page by page.

use std::time::Duration;

use hark_sdk::event::Blame;
use jiff::Timestamp;

use super::answers::{TaskList, TaskRow};
use super::client::Client;
use crate::recognize::error::{Error, When};

/// The largest page that the service returns.
const PAGE: usize = 100;
/// The most pages that are read, newest first: with 100 submits a minute, the tasks of the last three hours.
const PAGES: usize = 200;
/// Clocks differ, and the request left before the daemon gave it up.
pub(super) const MARGIN: Duration = Duration::from_secs(600);

/// The list from a time on.
#[derive(Debug)]
pub(super) struct List {
    pub(super) since: Timestamp,
    /// Not after the list was read.
    pub(super) asked_at: Timestamp,
    /// Newest first.
    pub(super) rows: Vec<TaskRow>,
    /// The list was read to its end.
    pub(super) is_complete: bool,
}

impl TaskRow {
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
pub(super) async fn everything(client: &Client, since: Timestamp) -> Result<List, Error> {
    // The time zone is not documented. A start in UTC is right if the service reads UTC, and eight hours too early if it reads Beijing
    // time: then the list has more rows. An end in UTC could leave out the daemon's tasks, so none is sent.
    let start = (since - MARGIN).strftime("%Y%m%d%H%M%S").to_string();
    let mut list = List { since, asked_at: Timestamp::now(), rows: Vec::new(), is_complete: false };
    for number in 1..=PAGES {
        let query =
            [("page_no", &number.to_string()), ("page_size", &PAGE.to_string()), ("start_time", &start)];
        let call = client.get("/tasks").query(&query);
        let page: TaskList = client.queries.free(client.free(call)).await.map_err(no_list)?;
        list.is_complete = number >= page.total_page;
        list.rows.extend(
            page.rows().ok_or_else(|| no_list(Error::unreadable("the answer has no list of tasks")))?,
        );
        if list.is_complete {
            break;
        }
    }
    Ok(list)
}

/// A list that the service does not have, does not permit, or that cannot be read now will not be there in a minute. Nothing else needs
/// the list, so such a refusal tells nothing of the account.
fn no_list(error: Error) -> Error {
    let is_held = matches!(error.when, When::Held { .. });
    let is_forbidden = error.fault.code.contains("AccessDenied") || error.fault.code == "HttpStatus403";
    let is_none = error.is_unreadable() || (is_held && (is_forbidden || error.fault.blame == Blame::Hark));
    if is_none { Error { when: When::Never, ..error } } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognize::dashscope::answers::Status;

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
