//! Tries out one library without a running daemon: for `harkd plugins check`.

use std::io;
use std::path::Path;
use std::time::Instant;

use hark_sdk::Wants;
use hark_sdk::event::{Body, Event};
use hark_sdk::testing::{partial, transcript};
use serde::Serialize;
use serde_json::json;

use super::Surroundings;
use super::inspect::{LIMIT, block_on};
use super::process::{EXIT_LIMIT, Gone, Launch, Process};
use super::wire::{self, Answer, Description, Outcome, ToChild, clean};
use crate::config;

/// Result of a trial.
#[derive(Debug, Serialize)]
pub struct Trial {
    pub description: Option<Description>,
    pub steps: Vec<Step>,
}

/// One step of a trial.
#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    /// Why the step failed.
    pub error: Option<String>,
    /// Result of the step, for the plugin's author.
    pub note: String,
    pub elapsed_ms: f64,
}

impl Trial {
    /// Whether every step succeeded.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.error.is_none())
    }
}

/// Tries out a library: load, create with `config` (JSON), finals, a partial, an invalid body, end.
///
/// # Errors
/// When the runtime for the trial cannot be started. A process that cannot be started is a failed step.
pub fn trial(library: &Path, config: &str, surroundings: &Surroundings) -> io::Result<Trial> {
    let plugin: config::Plugin = serde_json::from_value(json!({ "name": "trial", "library": "" }))?;
    let mut launch = surroundings.launch(&plugin, &config::Plugins::default());
    launch.load.library = library.to_owned();
    launch.load.config = config.to_owned();
    block_on(run(&launch))
}

async fn run(launch: &Launch) -> Trial {
    let mut trial = Trial { description: None, steps: Vec::new() };
    let began = Instant::now();
    let mut process = match Process::start(launch).await {
        Ok(process) => {
            trial.step("load and create", began, Ok("loaded".to_owned()));
            process
        }
        Err(error) => {
            trial.step("load and create", began, Err(error.to_string()));
            return trial;
        }
    };
    trial.description = Some(process.description.clone());
    let wants = Wants::from_bits(process.description.wants);
    let wanted = samples().into_iter().filter(|(_, event)| wants.include(&event.kind()));
    for (name, event) in wanted {
        let began = Instant::now();
        let asked = ToChild::Event { kind: event.kind().to_string(), body: &event };
        let outcome = ask(&mut process, &asked).await.and_then(judge);
        let lost = outcome.is_err();
        trial.step(name, began, outcome);
        if lost {
            return trial;
        }
    }

    let began = Instant::now();
    let invalid = ToChild::Event { kind: "transcript.final".to_owned(), body: () };
    let answer = ask(&mut process, &invalid).await;
    let outcome = answer.and_then(|answer| match answer.outcome {
        Outcome::Failed(_) => {
            Err("it returned HARK_FAILED for one invalid event; return HARK_ERROR".to_owned())
        }
        Outcome::Error(_) => Ok("refused".to_owned()),
        Outcome::Ok => Ok("ignored".to_owned()),
    });
    trial.step("an invalid body", began, outcome);

    let began = Instant::now();
    let outcome = match process.end(LIMIT).await {
        Some(status) if status.success() => Ok("ended in good order".to_owned()),
        Some(status) => Err(format!("its process ended ({status})")),
        None => Err(format!("it did not end within {LIMIT:?}")),
    };
    trial.step("destroy", began, outcome);
    trial
}

/// Events as they usually are, and extreme ones.
fn samples() -> [(&'static str, Event); 4] {
    let mut silent = transcript(&[]);
    if let Body::TranscriptFinal(fields) = &mut silent.body {
        (fields.segments, fields.language, fields.emotion) = (None, None, None);
    }
    let words = "perhaps I shall cancel, please give me a refund; 我要退款。 Grüße 👋 ";
    [
        ("a final", transcript(&["Good morning.", words])),
        ("a final of silence", silent),
        ("a very long final", transcript(&vec![words; 5_000])),
        ("a partial", partial(1, words)),
    ]
}

async fn ask(process: &mut Process, event: &ToChild<impl Serialize>) -> Result<Answer, String> {
    process.send(&wire::frame(event).map_err(|error| error.to_string())?);
    match tokio::time::timeout(LIMIT, process.answer()).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Gone::Rubbish(words))) => Err(words),
        Ok(Err(Gone::Ended)) => Err(format!("its process {}", process.exit(EXIT_LIMIT).await)),
        Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}

fn summary(answer: &Answer) -> String {
    let replaced = if answer.replaced.is_some() { ", replaced the text" } else { "" };
    format!("emitted {}{replaced}", answer.said.len())
}

/// Summary of an answer, or why the answer counts as a failure.
fn judge(answer: Answer) -> Result<String, String> {
    match (&answer.outcome, &answer.refused) {
        (Outcome::Ok, None) => Ok(summary(&answer)),
        (Outcome::Ok, Some(refused)) => Err(format!("the daemon refuses its output: {}", clean(refused))),
        (Outcome::Error(why) | Outcome::Failed(why), _) => Err(clean(why)),
    }
}

impl Trial {
    fn step(&mut self, name: &'static str, began: Instant, outcome: Result<String, String>) {
        let elapsed_ms = began.elapsed().as_secs_f64() * 1000.0;
        let (note, error) = match outcome {
            Ok(note) => (note, None),
            Err(error) => (String::new(), Some(error)),
        };
        self.steps.push(Step { name, error, note, elapsed_ms });
    }
}
