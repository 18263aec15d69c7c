//! `/api/status` and `/api/spend`: what the daemon does, and what it costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::{Extension, Json};
use hark_sdk::event::Engine;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::health::Missing;
use super::problem::Problem;
use super::reloads::Reload;
use super::service::Identity;
use super::state::{Api, Handles};
use super::steer::sources;
use super::token::Rights;
use super::words::Words;
use crate::job::ledger::spend::DaySpent;
use crate::job::ledger::view::{self, Filter, LedgerEvent, Listed, State as JobState};
use crate::job::ledger::{jobs, outbox, spend};
use crate::pipeline::PluginStatus;
use crate::publish::webhooks::View as Webhook;

/// Running and waiting jobs that the status names.
const RUNNING: usize = 50;

/// The newest alerts that it names.
const ALERTS: usize = 20;

/// The most days that `/api/spend` goes back.
const MOST_DAYS: i64 = 400;

/// `GET /api/status`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Status {
    /// The id by which other daemons know this one.
    daemon: Uuid,
    /// Further daemons of the prefix that answered last.
    others: Vec<Identity>,
    version: &'static str,
    /// What the token that was shown permits.
    rights: Rights,
    time: Timestamp,
    ready: bool,
    not_ready: Vec<Missing>,
    jobs: Counts,
    /// How many jobs and pieces have each duty next.
    duties: BTreeMap<String, i64>,
    /// Jobs that are at a recognizer or in the plugins, newest first.
    running: Vec<Running>,
    /// The newest alerts, newest first.
    alerts: Vec<LedgerEvent>,
    spend: Today,
    recognizers: Vec<RecognizerStatus>,
    plugins: Vec<PluginStatus>,
    sources: Vec<sources::Listed>,
    webhooks: Vec<Webhook>,
    /// Stored events that the broker has not acknowledged.
    outbox: i64,
    /// The last reload of the config; null: none since the start.
    reload: Option<Reload>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct Counts {
    open: u64,
    completed: u64,
    failed: u64,
    canceled: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Running {
    #[serde(flatten)]
    listed: Listed,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_words: Option<Words>,
}

/// What was spent since midnight (UTC), reservations included, against the budget.
#[derive(Debug, Serialize, JsonSchema)]
struct Today {
    usd: f64,
    /// Null: no limit.
    daily_usd: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RecognizerStatus {
    name: String,
    /// `dashscope`, or the `kind` of the config.
    kind: &'static str,
    /// Whether its queue waits: until the operator corrects key, arrears or rights, or until a server answers again.
    held: bool,
    /// Why its queue waits (the message of the last refusal), and what to do; null: the queue does not wait.
    reason: Option<String>,
}

/// `GET /api/status`.
pub(super) async fn status(
    State(api): State<Api>,
    Extension(rights): Extension<Option<Rights>>,
) -> Result<Json<Status>, Problem> {
    let handles = api.handles()?;
    let moment = handles.steer.moment();
    let now = moment.now;
    let read = move |connection: &_| {
        let running = Filter { state: Some(JobState::Recognizing), limit: RUNNING, ..Filter::default() };
        Ok((
            view::counts(connection)?,
            jobs::count_by_duty(connection)?,
            view::list(connection, &running, &moment)?.jobs,
            view::alerts(connection, ALERTS)?,
            spend::since(connection, now)?,
            outbox::count(connection)?,
        ))
    };
    let (read, others) = tokio::join!(handles.ledger.read(read), handles.others.known());
    let (counted, duties, running, alerts, spent, outbox) = read?;
    let count =
        |outcome: &str| counted.iter().find(|(name, _)| name == outcome).map_or(0, |(_, count)| *count);
    let not_ready = api.health().missing();
    let daily = handles.config().budget.daily_usd;
    let with_words = |listed: Listed| Running { last_words: handles.words.of(listed.job), listed };
    Ok(Json(Status {
        daemon: handles.daemon,
        others,
        version: env!("CARGO_PKG_VERSION"),
        rights: rights.unwrap_or(Rights::Read),
        time: now,
        ready: not_ready.is_empty(),
        not_ready,
        jobs: Counts {
            open: count("open"),
            completed: count("completed"),
            failed: count("failed"),
            canceled: count("canceled"),
        },
        duties: duties.into_iter().collect(),
        running: running.into_iter().map(with_words).collect(),
        alerts,
        spend: Today { usd: spend::dollars(&spent), daily_usd: (daily > 0.0).then_some(daily) },
        recognizers: recognizers(&api, handles),
        plugins: handles.steer.pipeline.statuses(),
        sources: sources::list(handles.steer.clone(), sources::Nothing {}).await?.sources,
        webhooks: handles.steer.webhooks.list(),
        outbox,
        reload: handles.reloads.last(),
    }))
}

fn recognizers(api: &Api, handles: &Handles) -> Vec<RecognizerStatus> {
    let config = handles.config();
    let mut names: Vec<(String, &'static str)> = Vec::new();
    if config.needs_dashscope() {
        names.extend(["flash", "filetrans"].map(|name| (name.to_owned(), "dashscope")));
    }
    names.extend(config.recognizer.iter().map(|own| (own.name.clone(), "openai")));
    let held = &api.metrics().recognize_held;
    let recognizers = Arc::clone(&handles.steer.present.borrow().recognizers);
    names
        .into_iter()
        .map(|(name, kind)| RecognizerStatus {
            held: held.with_label_values(&[&name]).get() != 0,
            reason: recognizers.get(&Engine::new(&name)).and_then(|recognizer| recognizer.pacer().held()),
            name,
            kind,
        })
        .collect()
}

/// `GET /api/spend`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Spend {
    /// UTC days, newest first; days on which nothing was spent too.
    days: Vec<Day>,
    /// `budget.daily_usd`; null: no limit.
    daily_usd: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Day {
    #[schemars(with = "String")]
    day: Date,
    usd: f64,
    by_source: BTreeMap<String, f64>,
    by_recognizer: BTreeMap<String, f64>,
}

/// `GET /api/spend?days=`.
pub(super) async fn spend(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<Spend>, Problem> {
    let mut days = 30;
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        days = match (key.as_ref(), value.parse::<i64>()) {
            ("days", Ok(days)) if (1..=MOST_DAYS).contains(&days) => days,
            ("days", _) => {
                return Err(Problem::bad(format!("days={value:?}: a number from 1 to {MOST_DAYS}")));
            }
            (key, _) => return Err(Problem::bad(format!("{key:?}: the only key is days"))),
        };
    }
    let handles = api.handles()?;
    let today = Timestamp::now();
    let first = today - jiff::SignedDuration::from_hours(24 * (days - 1));
    let spent = handles.ledger.read(move |connection| spend::since(connection, first)).await?;
    let date = |back: i64| {
        let time = today - jiff::SignedDuration::from_hours(24 * back);
        time.to_zoned(TimeZone::UTC).date()
    };
    let day = |day: Date| {
        let of_day: Vec<&DaySpent> = spent.iter().filter(|spent| spent.day == day).collect();
        let by = |name: fn(&DaySpent) -> &String| {
            let of = |wanted: &String| {
                spend::dollars(of_day.iter().copied().filter(|spent| name(spent) == wanted))
            };
            of_day.iter().map(|spent| (name(spent).clone(), of(name(spent)))).collect()
        };
        Day {
            day,
            usd: spend::dollars(of_day.iter().copied()),
            by_source: by(|spent| &spent.source),
            by_recognizer: by(|spent| &spent.recognizer),
        }
    };
    let daily = handles.config().budget.daily_usd;
    Ok(Json(Spend {
        days: (0..days).map(|back| day(date(back))).collect(),
        daily_usd: (daily > 0.0).then_some(daily),
    }))
}
