//! `harkd jobs show`.

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::daemons::{PATIENCE, ask};
use crate::cli::event_line::{self, Layout};
use crate::cli::follow::ReceivedEvent;
use crate::cli::screen::{Screen, Span, Style};
use crate::cli::{Exit, has_reader, print, say, write_json};
use crate::config::Config;
use crate::counted::counted;

/// Prints a job and its events, as the lines of `harkd tail`.
///
/// # Errors
/// 1 when no daemon has the job, 69 when a daemon that may have it does not answer.
pub(super) async fn show(config: &Config, id: Uuid, as_json: bool) -> Result<(), Exit> {
    let answers = ask(config, "jobs.show", &json!({ "job": id }), PATIENCE).await?;
    let (daemon, mut job) = answers.of_its_daemon(&format!("job {id}"))?;
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
        let heard = ReceivedEvent {
            subject: String::new(),
            id: String::new(),
            kind: event["kind"].as_str().unwrap_or_default().to_owned(),
            body: event["body"].clone(),
        };
        if !write(&event_line::line(&heard, &TimeZone::system(), layout))? {
            return Ok(());
        }
    }
    if let Some(more) = job["events_left_out"].as_u64() {
        say(&format!(
            "left out of the answer: {}; GET /api/jobs/{id}/events has all",
            counted(more, "later event")
        ));
    }
    Ok(())
}
