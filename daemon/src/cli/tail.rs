//! `harkd tail`: events as they happen, partials growing in place.

use std::path::Path;

use hark_sdk::event::Kind;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::event_line::{self, Layout};
use super::follow::{Follower, ReceivedEvent, Since};
use super::screen::Screen;
use super::{Exit, has_reader, print, say, session, write_json};
use crate::broker::stream::find;
use crate::broker::{JetStream, Subjects};
use crate::config::{Config, Nats, Source};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these kinds, e.g. `transcript.final`, or a whole family, e.g. `alert` (may be repeated)
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Vec<String>,
    /// Only this source (may be repeated)
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
    /// Only this job (may be repeated)
    #[arg(long, value_name = "ID", value_parser = parse_job)]
    job: Vec<Uuid>,
    /// Begin with the oldest event that is stored, not with the next one
    #[arg(long)]
    all: bool,
    /// One line of JSON per event: the fields of the body, and `subject`, `id` and `type`
    #[arg(long)]
    json: bool,
}

/// Follows until Ctrl-C, or until the reader of its output is gone.
pub fn execute(config: &Path, args: &Args) -> Result<(), Exit> {
    let config = Config::load(config)?;
    session::block_on(async {
        tokio::select! {
            outcome = follow(&config, args) => outcome,
            signal = tokio::signal::ctrl_c() => {
                signal.map_err(|error| Exit::Software(format!("waiting for Ctrl-C: {error}")))
            }
        }
    })
}

async fn follow(config: &Config, args: &Args) -> Result<(), Exit> {
    let connection = session::open(config).await?;
    let sources: Vec<&str> = config.source.iter().map(Source::name).collect();
    for name in args.source.iter().filter(|name| !sources.contains(&name.as_str())) {
        // Another daemon on the same stream may have that source.
        let has = sources.join(", ");
        say(&format!(
            "the config has no source {name:?}, it has {has}; events of another daemon's are shown"
        ));
    }
    let since = if args.all { Since::Beginning } else { Since::Now };
    let mut follower = Follower::open(&connection, &config.nats, since).await?;
    let subjects = Subjects::new(&config.nats.subject_prefix);
    say(&format!("following {} (Ctrl-C ends)", subjects.every_event()));
    for job in &args.job {
        if let Some(words) = standing(&connection, &config.nats, *job, args.all).await {
            say(&words);
        }
    }
    let mut lines = (!args.json).then(Lines::new);
    loop {
        let heard = follower.next().await?;
        if !args.wants(&heard) {
            continue;
        }
        let goes_on = match &mut lines {
            Some(lines) => has_reader(lines.show(&heard))?,
            None => print(|out| write_json(out, &json_line(&heard)))?,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// What to print for a job that may have no further events.
async fn standing(jetstream: &JetStream, nats: &Nats, job: Uuid, shows_all: bool) -> Option<String> {
    let unseen = |why: String| Some(format!("job {job}: {why}; waiting for its next event"));
    let of_job = Subjects::new(&nats.subject_prefix).of_job("*", job);
    let name = &nats.events_stream;
    let last = async {
        let stream = find(jetstream, name).await.map_err(|error| error.to_string())?;
        let Some(stream) = stream else { return Ok(None) };
        jetstream.last_message(&stream, &of_job).await.map_err(|error| error.to_string())
    };
    match last.await {
        Ok(None) => unseen(format!("the stream {name} has no event of it; is the id right?")),
        Err(reason) => unseen(format!("its events cannot be looked up: {reason}")),
        Ok(Some(last)) => {
            let header = |name: &str| last.headers.get(name).map_or("", |value| value.as_str());
            let kind = header("ce-type").parse::<Kind>().ok().filter(Kind::is_last)?;
            let ended = format!("job {job} ended with {kind} at {}", header("ce-time"));
            (!shows_all).then(|| format!("{ended}; --all shows its events"))
        }
    }
}

impl Args {
    fn wants(&self, heard: &ReceivedEvent) -> bool {
        let (family, _) = heard.kind.split_once('.').unwrap_or((&heard.kind, ""));
        let is_source = self.source.is_empty()
            || self.source.iter().any(|source| heard.body["source"] == source.as_str());
        let is_job =
            self.job.is_empty() || self.job.iter().any(|job| heard.body["job"] == job.to_string().as_str());
        let is_kind =
            self.kind.is_empty() || self.kind.iter().any(|kind| *kind == heard.kind || kind == family);
        is_kind && is_source && is_job
    }
}

struct Lines {
    screen: Screen,
    zone: TimeZone,
}

impl Lines {
    fn new() -> Lines {
        Lines { screen: Screen::new(), zone: TimeZone::system() }
    }

    fn show(&mut self, heard: &ReceivedEvent) -> std::io::Result<()> {
        let job = heard.body["job"].as_str().unwrap_or_default();
        let line = event_line::line(&heard.kind, &heard.body, &self.zone, Layout::of(self.screen.columns()));
        if heard.kind == "transcript.partial" {
            return self.screen.grow(job, line);
        }
        if matches!(heard.kind.as_str(), "transcript.final" | "job.failed" | "job.retrying") {
            self.screen.settle(job)?;
        }
        self.screen.print(&line)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // The terminal may be gone, and a failure cannot be reported then.
        let _ = self.screen.close();
    }
}

fn json_line(heard: &ReceivedEvent) -> Value {
    let mut line = Map::new();
    line.insert("subject".into(), heard.subject.clone().into());
    line.insert("id".into(), heard.id.clone().into());
    line.insert("type".into(), format!("hark.{}", heard.kind).into());
    match &heard.body {
        Value::Object(body) => line.extend(body.clone()),
        other => {
            line.insert("data".into(), other.clone());
        }
    }
    Value::Object(line)
}

fn parse_job(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "a job's id looks like 01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c".to_owned())
}

fn parse_kind(text: &str) -> Result<String, String> {
    const FAMILIES: [&str; 5] = ["job", "transcript", "annotation", "alert", "plugin"];
    let text = text.strip_suffix(".*").unwrap_or(text);
    if FAMILIES.contains(&text) {
        return Ok(text.to_owned());
    }
    text.parse::<Kind>().map(|kind| kind.to_string()).map_err(|error| {
        let families = FAMILIES.join(", ");
        format!("{error}; a family alone also does: {families}")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    const JOB: &str = "01936f4e-5f0a-7c3e-8c1d-2f9f6f0a1b2c";

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Line::try_parse_from(["tail"].iter().chain(words)).unwrap().args
    }

    fn heard(kind: &str) -> ReceivedEvent {
        let body = json!({"job": JOB, "source": "calls"});
        ReceivedEvent { subject: "s".into(), id: "j1:1".into(), kind: kind.into(), body }
    }

    #[test]
    fn a_kind_is_one_kind_or_a_family() {
        assert!(args(&["--kind", "alert"]).wants(&heard("alert.raised")));
        assert!(args(&["--kind", "alert.raised", "--kind", "job"]).wants(&heard("job.failed")));
        assert!(!args(&["--kind", "transcript.final"]).wants(&heard("transcript.partial")));
        assert!(Line::try_parse_from(["tail", "--kind", "transcripts"]).is_err());
    }

    #[test]
    fn source_and_job_have_to_match_both() {
        let another = JOB.replace('0', "1");
        assert!(args(&["--source", "calls", "--job", &JOB.to_uppercase()]).wants(&heard("job.accepted")));
        assert!(!args(&["--source", "calls", "--job", &another]).wants(&heard("job.accepted")));
        assert!(Line::try_parse_from(["tail", "--job", "7"]).is_err());
        assert!(!args(&["--source", "inbox"]).wants(&heard("job.accepted")));
    }

    #[test]
    fn json_is_the_body_and_what_the_headers_say() {
        assert_eq!(
            json_line(&heard("job.accepted")),
            json!({"subject": "s", "id": "j1:1", "type": "hark.job.accepted", "job": JOB, "source": "calls"})
        );
    }
}
