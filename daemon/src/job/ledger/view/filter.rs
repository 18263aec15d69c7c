//! Which jobs a list has.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil;
use jiff::fmt::temporal::Pieces;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::parse_duration;

/// The most jobs of one page.
pub const MOST: usize = 500;

/// Jobs of a page where the request does not say.
const USUAL: usize = 50;

/// The state of a job, as lists have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In the ledger; nothing was asked of a recognizer yet.
    #[default]
    Accepted,
    /// A recognizer has it, or plugins have.
    Recognizing,
    /// Something is owed to it later: a retry, the budget of another day, a recognizer that is held, a plugin that holds it.
    Waiting,
    Completed,
    Failed,
    /// An operator has canceled it.
    Canceled,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Accepted,
        State::Recognizing,
        State::Waiting,
        State::Completed,
        State::Failed,
        State::Canceled,
    ];

    /// The word in lists and requests.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Accepted => "accepted",
            State::Recognizing => "recognizing",
            State::Waiting => "waiting",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Canceled => "canceled",
        }
    }

    /// Whether the job's last event is written.
    pub fn is_end(self) -> bool {
        matches!(self, State::Completed | State::Failed | State::Canceled)
    }

    fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        State::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// Where a page of the list begins: behind this job, or before this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Job(Uuid),
    Time(Timestamp),
}

impl Before {
    /// The jobs of the page have smaller ids.
    pub(super) fn id(self) -> Uuid {
        match self {
            Before::Job(id) => id,
            Before::Time(time) => first_of(time),
        }
    }
}

/// The smallest id that a job of this time, or of a later one, can have.
pub(super) fn first_of(time: Timestamp) -> Uuid {
    let millis = time.as_millisecond().max(0) as u128;
    Uuid::from_u128((millis << 80) | (0x7 << 76))
}

/// A filter whose values are checked. The default lets the newest jobs through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub state: Option<State>,
    pub source: Option<String>,
    /// The rule of an alert that was raised and not retracted; `*`: any.
    pub alert: Option<String>,
    /// What stands in the transcript, the recording's name or its metadata.
    pub text: Option<String>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    pub before: Option<Before>,
    /// At most [`MOST`].
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Filter { state: None, source: None, alert: None, text: None, since: None, before: None, limit: USUAL }
    }
}

/// A value that a filter does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}={value:?}: {expected}")]
pub struct WrongFilter {
    pub key: &'static str,
    pub value: String,
    pub expected: &'static str,
}

/// The keys of a filter.
const KEYS: [&str; 7] = ["state", "source", "alert", "text", "since", "before", "limit"];

impl Filter {
    /// Takes one key with its value, as it stands in an address or a request. An empty value is no filter. `now`: what durations in `since`
    /// count back from.
    ///
    /// # Errors
    /// When the value cannot be used, or the key is none of a filter.
    pub fn set(&mut self, key: &str, value: &str, now: Timestamp) -> Result<(), WrongFilter> {
        let Some(key) = KEYS.into_iter().find(|known| *known == key) else {
            let expected = "one of state, source, alert, text, since, before, limit";
            return Err(WrongFilter { key: "key", value: key.to_owned(), expected });
        };
        let wrong = |expected| WrongFilter { key, value: value.to_owned(), expected };
        if value.is_empty() {
            return Ok(());
        }
        // SQLite ends a text there: the search would be for another one, or for none.
        if value.contains('\0') {
            return Err(wrong("a text without NUL"));
        }
        match key {
            "state" => {
                const STATES: &str = "one of accepted, recognizing, waiting, completed, failed, canceled";
                self.state = Some(State::parse(value).ok_or_else(|| wrong(STATES))?);
            }
            "source" => self.source = Some(value.to_owned()),
            "alert" => self.alert = Some(value.to_owned()),
            "text" => self.text = Some(value.to_owned()),
            "since" => {
                let time = time(value).or_else(|| back(value, now));
                self.since =
                    Some(time.ok_or_else(|| wrong("a time in RFC 3339, or a duration such as \"2h\""))?);
            }
            "before" => {
                let before = value.parse().map(Before::Job).ok().or_else(|| time(value).map(Before::Time));
                self.before = Some(before.ok_or_else(|| wrong("the id of a job, or a time in RFC 3339"))?);
            }
            _ => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                self.limit = limit.ok_or_else(|| wrong("a number from 1 to 500"))?;
            }
        }
        Ok(())
    }
}

/// A time in RFC 3339. The last day that RFC 3339 can write is behind the last time of jiff: it counts as that.
fn time(text: &str) -> Option<Timestamp> {
    let is_last_day = |pieces: &Pieces| {
        pieces.date() >= civil::date(9999, 12, 30) && pieces.time().is_some() && pieces.offset().is_some()
    };
    let last = || Pieces::parse(text).ok().filter(is_last_day).map(|_| Timestamp::MAX);
    text.parse().ok().or_else(last)
}

fn back(duration: &str, now: Timestamp) -> Option<Timestamp> {
    let duration: Duration = parse_duration(duration).ok()?;
    now.checked_sub(duration).ok()
}
