//! `harkd jobs show`.

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::service::Identity;
use crate::cli::daemons::{PATIENCE, ask};
use crate::cli::event_line::{self, Layout};
use crate::cli::screen::{Screen, Span, Style};
use crate::cli::{Exit, has_reader, print, write_json};
use crate::config::Config;

/// Prints a job and its events, as the lines of `harkd tail`.
///
/// # Errors
/// 1 when no daemon has the job, 69 when a daemon that may have it does not answer.
pub(super) async fn show(config: &Config, id: Uuid, as_json: bool) -> Result<(), Exit> {
    let (daemon, mut job) = whole(config, id).await?;
    if as_json {
        job["daemon"] = json!(daemon.daemon);
        print(|out| write_json(out, &job))?;
        return Ok(());
    }
    let mut screen = Screen::new();
    let mut write = |line: &[Span]| has_reader(screen.print(line));
    for (title, value) in [
        ("job", json!(id)),
        ("daemon", json!(daemon.to_string())),
        ("state", job["state"].clone()),
        ("source", job["source"].clone()),
        ("recording", job["name"].clone()),
        ("retry of", job["retry_of"].clone()),
        ("engine", job["engine"].clone()),
        ("model", job["model"].clone()),
        ("billed seconds", job["billed_seconds"].clone()),
        ("cost in USD", job["cost_usd"].clone()),
    ] {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            other => other.to_string(),
        };
        let line = [Span::new(Style::DIM, format!("{title:15}")), Span::new(Style::PLAIN, text)];
        if !write(&line)? {
            return Ok(());
        }
    }
    let layout = Layout::of(Screen::new().columns());
    for event in job["events"].as_array().into_iter().flatten() {
        let kind = event["kind"].as_str().unwrap_or_default();
        if !write(&event_line::line(kind, &event["body"], &TimeZone::system(), layout))? {
            return Ok(());
        }
    }
    Ok(())
}

/// The job with all of its events: one answer may have only the first of them.
async fn whole(config: &Config, id: Uuid) -> Result<(Identity, Value), Exit> {
    let mut events = Vec::new();
    loop {
        let request = json!({ "job": id, "skip": events.len() });
        let answers = ask(config, "jobs.show", &request, PATIENCE).await?;
        let (daemon, mut job) = answers.of_its_daemon(&format!("job {id}"))?;
        let further = job["events"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let is_all = further.is_empty() || job["events_left_out"].is_null();
        events.extend(further);
        if is_all {
            job["events"] = Value::Array(events);
            return Ok((daemon, job));
        }
    }
}
