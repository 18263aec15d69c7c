//! `harkd jobs list`.

use std::cmp::Reverse;
use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::dollars;
use crate::api::csv::csv;
use crate::cli::daemons::{PATIENCE, Refused, ask};
use crate::cli::screen::{Span, Style};
use crate::cli::table;
use crate::cli::{Exit, print, say, write_json};
use crate::config::Config;
use crate::job::ledger::view::{Filter, Listed, Page, State};

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Only jobs in this state: accepted, recognizing, waiting, completed, failed, canceled
    #[arg(long)]
    state: Option<String>,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only jobs accepted since: RFC 3339 or a duration such as "2h"
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only jobs before this one (its id), or accepted before this time
    #[arg(long, value_name = "JOB|WHEN")]
    before: Option<String>,
    /// Only jobs with an alert of this rule; `*`: with any
    #[arg(long, value_name = "RULE")]
    alert: Option<String>,
    /// Only jobs with these words in the transcript, the name or the metadata
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// At most this many [default: 50, at most 500]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// CSV instead of a table
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

impl Args {
    /// The filter as a request has it.
    fn filter(&self) -> Map<String, Value> {
        let texts = [
            ("state", &self.state),
            ("source", &self.source),
            ("since", &self.since),
            ("before", &self.before),
            ("alert", &self.alert),
            ("text", &self.text),
        ];
        let texts =
            texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?))));
        texts.chain(self.limit.map(|limit| ("limit".to_owned(), json!(limit)))).collect()
    }
}

/// Prints the jobs of every running daemon that match the filter.
///
/// # Errors
/// 64 for an invalid filter; 69 when a daemon does not answer, after the jobs of the other daemons are printed.
pub(super) async fn list(config: &Config, args: &Args, as_json: bool) -> Result<(), Exit> {
    let filter = args.filter();
    let mut checked = Filter::default();
    for (key, value) in &filter {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        checked.set(key, &value, Timestamp::now()).map_err(|wrong| Exit::Usage(format!("--{wrong}")))?;
    }
    let answers = ask(config, "jobs.list", &filter, PATIENCE).await?;
    let mut found = Vec::new();
    let mut is_more = false;
    // A page that has a next page does not say what follows, so only jobs up to its end are printed; the rest comes with the next page.
    let mut until = Uuid::nil();
    for (daemon, answer) in &answers.of {
        let page = match answer {
            Ok(page) => page.clone(),
            Err(Refused { message, .. }) => return Err(Exit::Failed(format!("{daemon}: {message}"))),
        };
        let page: Page = serde_json::from_value(page)
            .map_err(|error| Exit::Failed(format!("{daemon}: its answer cannot be read: {error}")))?;
        is_more |= page.next.is_some();
        until = until.max(page.next.unwrap_or(until));
        found.extend(page.jobs.into_iter().map(|job| (daemon, job)));
    }
    found.retain(|(_, job)| job.job >= until);
    found.sort_by_key(|(_, job)| Reverse(job.job));
    is_more |= found.len() > checked.limit;
    found.truncate(checked.limit);
    let next = found.last().filter(|_| is_more).map(|(_, job)| job.job);
    if as_json {
        let jobs = found.iter().map(|(daemon, job)| {
            let mut row = serde_json::to_value(job).unwrap_or_default();
            row["daemon"] = json!(daemon.daemon);
            row
        });
        let jobs: Vec<Value> = jobs.collect();
        print(|out| write_json(out, &json!({ "jobs": jobs, "next": next })))?;
    } else if args.csv {
        let jobs = found.into_iter().map(|(_, job)| job).collect();
        print(|out| out.write_all(&csv(&Page { jobs, next })))?;
    } else {
        let zone = TimeZone::system();
        let rows = found.iter().map(|(_, job)| row(job, &zone)).collect();
        table::print(["JOB", "STATE", "SOURCE", "ACCEPTED", "LENGTH", "COST", "NAME", "TEXT"], rows)?;
    }
    if let Some(next) = next.filter(|_| !as_json) {
        say(&format!("there are more; the next ones: --before {next}"));
    }
    answers.is_complete()
}

fn row(job: &Listed, zone: &TimeZone) -> [Span; 8] {
    let style = match job.state {
        State::Completed => Style::GREEN,
        State::Failed => Style::RED,
        State::Waiting => Style::YELLOW,
        State::Canceled => Style::DIM,
        State::Accepted | State::Recognizing => Style::CYAN,
    };
    let accepted = job.accepted.to_zoned(zone.clone()).strftime("%m-%d %H:%M:%S").to_string();
    let length = job.duration_ms.map(|ms| format!("{}:{:02}", ms / 60_000, ms / 1_000 % 60));
    let error = job.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    [
        Span::new(Style::DIM, job.job.to_string()),
        Span::new(style, job.state.as_str()),
        Span::new(Style::PLAIN, &job.source),
        Span::new(Style::PLAIN, accepted),
        Span::new(Style::PLAIN, length.unwrap_or_default()),
        Span::new(Style::PLAIN, job.cost_usd.map(dollars).unwrap_or_default()),
        Span::new(Style::PLAIN, job.name.clone().unwrap_or_default()),
        Span::new(Style::PLAIN, error.or_else(|| job.text.clone()).unwrap_or_default()),
    ]
}
