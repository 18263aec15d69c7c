//! `harkd forget`: has the running daemons erase jobs, and says what they could not reach.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::daemons::{Refused, ask};
use super::{Exit, print, session, write_json, write_line};
use crate::api::service::Identity;
use crate::api::steer::forget::{Erased, Forgotten, MOST, NotReached};
use crate::config::Config;
use crate::counted::counted;

/// How long to wait for a daemon: it waits for a job that has just ended, and erases a long call message by message.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The jobs' ids
    #[arg(value_name = "JOB", required_unless_present = "meta", conflicts_with = "meta")]
    jobs: Vec<Uuid>,
    /// Instead: every job of the daemons' ledgers with this metadata; if repeated, with all of it
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// JSON instead of lines
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("metadata is written key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What the daemons have answered about one job.
#[derive(Default)]
struct Outcome {
    by: BTreeMap<Identity, Erased>,
    refused: BTreeMap<Identity, Refused>,
}

/// What they have answered about all.
#[derive(Default)]
struct Gathered {
    jobs: BTreeMap<Uuid, Outcome>,
    /// Why a daemon did not answer, or did not take a request.
    incomplete: Option<Exit>,
}

pub fn execute(config: &Path, args: &Args) -> Result<(), Exit> {
    let config = Config::load(config)?;
    session::block_on(async {
        let mut gathered = Gathered::default();
        match args.meta.is_empty() {
            true => gathered.by_id(&config, &args.jobs).await?,
            false => gathered.by_metadata(&config, &args.meta).await?,
        }
        gathered.jobs.values_mut().for_each(Outcome::drop_ledger_notes);
        gathered.print(args.json)?;
        gathered.exit()
    })
}

impl Gathered {
    async fn by_id(&mut self, config: &Config, jobs: &[Uuid]) -> Result<(), Exit> {
        for jobs in jobs.chunks(MOST) {
            for job in jobs {
                self.jobs.entry(*job).or_default();
            }
            self.ask(config, &json!({ "jobs": jobs }), jobs).await?;
        }
        Ok(())
    }

    async fn by_metadata(&mut self, config: &Config, meta: &[(String, String)]) -> Result<(), Exit> {
        let meta: Map<String, Value> = meta.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let mut next = self.ask(config, &json!({ "meta": meta }), &[]).await?;
        while let Some(after) = next {
            next = self.ask(config, &json!({ "meta": meta, "after": after }), &[]).await?;
        }
        // Other daemons may hold data of these jobs as well, such as events that wait for a webhook.
        let found: Vec<Uuid> = self.jobs.keys().copied().collect();
        self.by_id(config, &found).await
    }

    /// Sends one request. If daemons have more jobs, returns the job after which the next request goes on.
    async fn ask(&mut self, config: &Config, request: &Value, named: &[Uuid]) -> Result<Option<Uuid>, Exit> {
        let answers = ask(config, "jobs.forget", request, PATIENCE).await?;
        if let Err(silent) = answers.is_complete() {
            self.incomplete = Some(silent);
        }
        let mut next: Option<Uuid> = None;
        for (daemon, answer) in answers.of {
            let answer = match answer {
                Ok(answer) => serde_json::from_value::<Forgotten>(answer).map_err(|error| Refused {
                    code: 500,
                    message: format!("its answer cannot be read: {error}"),
                }),
                Err(refused) => Err(refused),
            };
            match (answer, named) {
                (Ok(answer), _) => {
                    next = next.into_iter().chain(answer.next).min();
                    self.add(&daemon, answer);
                }
                (Err(Refused { code: 404, .. }), _) => {}
                (Err(Refused { code: 400, message }), _) => return Err(Exit::Usage(message)),
                (Err(refused), [job]) => {
                    self.jobs.entry(*job).or_default().refused.insert(daemon, refused);
                }
                (Err(refused), _) => {
                    self.incomplete = Some(Exit::Failed(format!("{daemon}: {}", refused.message)));
                }
            }
        }
        Ok(next)
    }

    fn add(&mut self, daemon: &Identity, answer: Forgotten) {
        for erased in answer.jobs {
            self.jobs.entry(erased.job).or_default().by.insert(daemon.clone(), erased);
        }
        for refused in answer.refused.into_iter().filter(|refused| refused.code != 404) {
            let outcome = self.jobs.entry(refused.job).or_default();
            outcome.refused.insert(daemon.clone(), Refused { code: refused.code, message: refused.message });
        }
    }

    fn print(&self, as_json: bool) -> Result<(), Exit> {
        print(|out| {
            if as_json {
                let jobs: Vec<Value> = self.jobs.iter().map(|(job, outcome)| outcome.json(*job)).collect();
                return write_json(out, &json!({ "jobs": jobs }));
            }
            for (job, outcome) in &self.jobs {
                outcome.lines(*job).iter().try_for_each(|line| write_line(out, line))?;
            }
            let erased = self.jobs.values().flat_map(|outcome| outcome.by.values());
            let not_reached: BTreeSet<&NotReached> = erased.flat_map(|erased| &erased.not_reached).collect();
            not_reached.iter().try_for_each(|NotReached { what, detail }| {
                write_line(out, &format!("not reached: {what}: {detail}"))
            })
        })?;
        Ok(())
    }

    /// # Errors
    /// 1 where a job is not erased, 69 where a daemon did not answer.
    fn exit(self) -> Result<(), Exit> {
        if let Some(exit) = self.incomplete {
            return Err(exit);
        }
        let failed = self.jobs.values().filter(|outcome| outcome.state() != "erased").count();
        match (self.jobs.len(), failed) {
            (0, _) => Err(Exit::Failed("no running daemon has a job with these metadata".into())),
            (_, 0) => Ok(()),
            (all, failed) => Err(Exit::Failed(format!("not erased: {failed} of {}", counted(all, "job")))),
        }
    }
}

impl Outcome {
    /// Only the owner knows that its own ledger's rows are erased, so other daemons' notes about a ledger are removed if an owner answered.
    fn drop_ledger_notes(&mut self) {
        if self.by.values().any(|erased| erased.ledger) {
            let others = self.by.values_mut().filter(|erased| !erased.ledger);
            others.for_each(|erased| erased.not_reached.retain(|entry| entry.what != "ledger"));
        }
    }

    /// A daemon may refuse because it still sees the job as open (409). If the owner has erased the job meanwhile, that refusal does not count.
    fn state(&self) -> &'static str {
        let is_owners = self.by.values().any(|erased| erased.ledger);
        match (self.by.is_empty(), self.refused.values().any(|refused| !is_owners || refused.code != 409)) {
            (_, true) => "refused",
            (false, false) => "erased",
            (true, false) => "unknown",
        }
    }

    fn json(&self, job: Uuid) -> Value {
        let named = |daemon: &Identity, mut value: Value| {
            (value["daemon"], value["host"]) = (json!(daemon.daemon), json!(daemon.host));
            value
        };
        let by: Vec<Value> = self.by.iter().map(|(daemon, erased)| named(daemon, json!(erased))).collect();
        let refused: Vec<Value> =
            self.refused.iter().map(|(daemon, refused)| named(daemon, json!(refused))).collect();
        json!({ "job": job, "state": self.state(), "by": by, "refused": refused })
    }

    fn lines(&self, job: Uuid) -> Vec<String> {
        let mut lines = Vec::new();
        for (daemon, erased) in &self.by {
            lines.push(format!("job {job}: erased by {daemon}: {}", in_words(erased)));
            lines.extend(erased.files.iter().map(|file| format!("  {file}")));
        }
        let state = self.state();
        for (daemon, refused) in self.refused.iter().filter(|_| state == "refused") {
            lines.push(format!("job {job}: NOT erased by {daemon}: {}", refused.message));
        }
        if state == "unknown" {
            lines.push(format!("job {job}: no running daemon and no stream has data of it"));
        }
        lines
    }
}

fn in_words(erased: &Erased) -> String {
    let numbers = [
        (erased.events, "event"),
        (erased.partials, "partial"),
        (erased.messages, "message"),
        (erased.objects, "object"),
        (erased.claims, "claim"),
        (erased.webhook_events, "webhook event"),
        (erased.files.len() as u64, "file"),
    ];
    let ledger = erased.ledger.then(|| "the ledger's rows".to_owned());
    let audio = erased.audio.then(|| "audio".to_owned());
    let numbers = numbers.into_iter().filter(|(number, _)| *number > 0);
    let numbers = numbers.map(|(number, noun)| counted(number, noun));
    ledger.into_iter().chain(audio).chain(numbers).collect::<Vec<_>>().join(", ")
}
