//! Tests one library without a running daemon, step by step: for `harkd plugins check`.

mod endurance;
mod report;
mod samples;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use hark_sdk::Wants;
use serde::Serialize;
use serde_json::{Value, json};

use self::report::Finding;
pub use self::report::{Trial, Verdict};
use super::PluginEnvironment;
use super::inspect::{LIMIT, block_on};
use super::process::{EXIT_LIMIT, Gone, Launch, Process};
use super::wire::{self, Answer, Outcome, ToChild, clean};
use crate::config;
use crate::counted::counted;
use crate::os::resource_use::ResourceUse;

/// A step sends no more events after this time, so a slow plugin is tested with fewer events.
const BUDGET: Duration = Duration::from_secs(10);

/// A key that no plugin has.
const NO_KEY: &str = "no_plugin_has_this_key";

/// Tests a library: loads it, creates the plugin with `config` (JSON), sends every kind of event that it wants, then unusable bodies, then
/// `events` ordinary events, and ends it. Blocks for some seconds; for half a minute if the library is slow or hangs.
///
/// # Errors
/// When the runtime for the trial cannot be started. A process that cannot be started is a failed step.
pub fn trial(
    library: &Path,
    config: &str,
    events: u64,
    environment: &PluginEnvironment,
) -> io::Result<Trial> {
    let plugin: config::Plugin = serde_json::from_value(json!({ "name": "trial", "library": "" }))?;
    let mut launch = environment.launch(&plugin, &config::Plugins::default());
    launch.load.library = library.to_owned();
    launch.load.config = config.to_owned();
    block_on(async {
        let mut trial = Trial::default();
        // If the process has ended, or can no longer be used, the last step names the reason.
        if let Some(process) = run(&launch, events, &mut trial).await {
            end(process, &mut trial).await;
        }
        trial
    })
}

/// The process, if it can still be ended in good order.
async fn run(launch: &Launch, events: u64, trial: &mut Trial) -> Option<Process> {
    let began = Instant::now();
    let mut process = match Process::start(launch).await {
        Ok(process) => process,
        Err(error) => {
            trial.add("load and create", began, Finding::failed(error.reasons().join("; ")));
            return None;
        }
    };
    trial.add("load and create", began, Finding::passed("loaded"));
    trial.description = Some(process.description.clone());
    let began = Instant::now();
    let schema = process.description.schema;
    trial.add("schema of the config", began, if schema { unknown_key(launch).await } else { no_schema() });

    let wants = Wants::from_bits(process.description.wants);
    // Measured before the first event: a leak in the first events may already reach the process's limit.
    let began = Instant::now();
    let before = match measure(&mut process).await {
        Ok(before) => before,
        Err(why) => {
            trial.add("load and create", began, Finding::failed(why));
            return None;
        }
    };
    for (name, event) in samples::ordinary().into_iter().filter(|(_, event)| wants.include(&event.kind())) {
        let began = Instant::now();
        let answer = ask(&mut process, &event.kind().to_string(), &event).await;
        let lives = trial.take(name, began, answer, |answer| match judge(&answer) {
            Ok(()) => Finding::passed(summary(&answer)),
            Err(why) => Finding::failed(why),
        });
        if !lives {
            return None;
        }
    }
    for (name, kind, body) in samples::of_the_future() {
        let began = Instant::now();
        let answer = ask(&mut process, &kind, &body).await;
        let lives = trial.take(name, began, answer, |answer| match judge(&answer) {
            Ok(()) => Finding::passed("ignored"),
            Err(why) => Finding::warning(
                format!("it returned an error: {why}"),
                "pass over kinds and fields that the plugin does not know: a newer daemon may send some",
            ),
        });
        if !lives {
            return None;
        }
    }
    if !garbage(&mut process, trial).await {
        return None;
    }
    if trial.verdict() == Verdict::Failed {
        return Some(process);
    }
    endurance::run(&mut process, wants, events, before, trial).await.then_some(process)
}

fn no_schema() -> Finding {
    Finding::passed("none; with one, `harkd check` finds every mistake in [plugin.config] and its line")
}

/// Tests whether the plugin refuses a config with an unknown key, as a typing error would make one.
async fn unknown_key(launch: &Launch) -> Finding {
    let mut launch = launch.clone();
    let config = serde_json::from_str(&launch.load.config).map(|mut config: Value| {
        config[NO_KEY] = json!(true);
        config.to_string()
    });
    launch.load.config = match config {
        Ok(config) => config,
        Err(error) => return Finding::failed(format!("the config is not JSON: {error}")),
    };
    match Process::start(&launch).await {
        Err(_) => Finding::passed("an unknown key is refused"),
        Ok(process) => {
            process.end(LIMIT).await;
            Finding::warning(
                "a config with an unknown key is accepted",
                "let the schema have \"additionalProperties\": false (Rust: #[serde(deny_unknown_fields)]), so that typing errors are found",
            )
        }
    }
}

/// False if the process is gone.
async fn garbage(process: &mut Process, trial: &mut Trial) -> bool {
    let began = Instant::now();
    let bodies = samples::garbage();
    let (mut refused, mut tried) = (0, 0);
    for body in &bodies {
        if began.elapsed() > BUDGET {
            break;
        }
        tried += 1;
        let finding = match ask(process, "transcript.final", body).await {
            Ok(Answer { outcome: Outcome::Failed(why), .. }) => Finding::failed(format!(
                "it failed for good on the body {}: {}; return HARK_ERROR for an event that cannot be read",
                start_of(body),
                clean(&why)
            )),
            Ok(Answer { outcome, .. }) => {
                refused += u32::from(outcome != Outcome::Ok);
                continue;
            }
            Err(why) => Finding::failed(format!("on the body {}: {why}", start_of(body))),
        };
        trial.add("unusable bodies", began, finding);
        return false;
    }
    let slow = match bodies.len() - tried {
        0 => String::new(),
        rest => format!("; it is slow: after {} s, {rest} more were not tried", BUDGET.as_secs()),
    };
    trial.add(
        "unusable bodies",
        began,
        Finding::passed(format!("{refused} of {tried} refused, the others ignored{slow}")),
    );
    true
}

fn start_of(body: &Value) -> String {
    let text = body.to_string();
    let end = text.floor_char_boundary(120);
    if end < text.len() { format!("{}…", &text[..end]) } else { text }
}

async fn end(process: Process, trial: &mut Trial) {
    let began = Instant::now();
    let finding = match process.end(LIMIT).await {
        Some(status) if status.success() => Finding::passed("ended in good order"),
        Some(status) => Finding::failed(format!("its process ended ({status})")),
        None => Finding::failed(format!(
            "it did not end within {LIMIT:?}; let `destroy` return soon and end the plugin's threads"
        )),
    };
    trial.add("destroy", began, finding);
}

/// Sends an event and returns the answer, or the reason why there is none. After a failure the process cannot be used any more.
async fn ask(process: &mut Process, kind: &str, body: &impl Serialize) -> Result<Answer, String> {
    send(process, kind, body)?;
    answer(process).await
}

fn send(process: &mut Process, kind: &str, body: &impl Serialize) -> Result<(), String> {
    let asked = ToChild::Event { kind: kind.to_owned(), body };
    process.send(&wire::frame(&asked).map_err(|error| error.to_string())?);
    Ok(())
}

async fn answer(process: &mut Process) -> Result<Answer, String> {
    match tokio::time::timeout(LIMIT, process.answer()).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(gone)) => Err(why(process, gone).await),
        Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}

async fn measure(process: &mut Process) -> Result<ResourceUse, String> {
    match tokio::time::timeout(LIMIT, process.measure()).await {
        Ok(Ok(held)) => Ok(held),
        Ok(Err(gone)) => Err(why(process, gone).await),
        Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}

async fn why(process: &mut Process, gone: Gone) -> String {
    match gone {
        Gone::BrokeProtocol(words) => words,
        Gone::Ended => format!("its process {}", process.exit(EXIT_LIMIT).await),
    }
}

fn summary(answer: &Answer) -> String {
    let replaced = if answer.replaced.is_some() { ", replaced the text" } else { "" };
    let files = if answer.files.is_empty() {
        String::new()
    } else {
        format!(", {}", counted(answer.files.len(), "file"))
    };
    format!("emitted {}{replaced}{files}", answer.said.len())
}

/// Why an answer counts as a failure.
fn judge(answer: &Answer) -> Result<(), String> {
    match (&answer.outcome, &answer.refused) {
        (Outcome::Ok, None) => Ok(()),
        (Outcome::Ok, Some(refused)) => Err(format!("the daemon refuses its output: {}", clean(refused))),
        (Outcome::Error(why) | Outcome::Failed(why), _) => Err(clean(why)),
    }
}
