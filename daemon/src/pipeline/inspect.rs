//! Looks at one library outside of a daemon, always in a process of its own: for `harkd check` and `harkd plugins`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hark_sdk::Wants;
use hark_sdk::event::{Body, Event};
use hark_sdk::testing::{partial, transcript};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Surroundings;
use super::log::PluginLog;
use super::process::{EXIT_LIMIT, Gone, Launch, LoadError, Process};
use super::wire::{self, Answer, Description, FromChild, Outcome, ToChild};
use crate::config;

/// How long one call may take in a trial, and the end of the process.
const LIMIT: Duration = Duration::from_secs(2);

/// Loads a configured plugin, lets it make its instance from its config, and ends it, all as the daemon would. Blocks for some ten seconds
/// at most.
///
/// # Errors
/// When the daemon could not run it; the words name the library or the config's key, and what to do.
pub fn inspect(
    plugin: &config::Plugin,
    folders: &config::Plugins,
    surroundings: &Surroundings,
) -> Result<Description, LoadError> {
    let launch = surroundings.launch(plugin, folders);
    let _own = Lent::folder(surroundings.own_folder(&plugin.name));
    blocking(async {
        let log = PluginLog::new(&plugin.name);
        let process = Process::start(&launch, &mut log.clone()).await?;
        let description = process.description.clone();
        process.retire(LIMIT, log).await;
        Ok(description)
    })
    .unwrap_or_else(|error| Err(LoadError(format!("no process can be started to load it: {error}"))))
}

/// A folder that is there for a while: what was missing of it is made, and goes again unless something was put there meanwhile.
struct Lent {
    /// The innermost first.
    made: Vec<PathBuf>,
}

impl Lent {
    fn folder(folder: PathBuf) -> Lent {
        let missing: Vec<_> = folder
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect();
        // What cannot be made is not granted: a `create` that needs it says so, as it would to a daemon of this user.
        let made = missing.iter().rev().take_while(|folder| std::fs::create_dir(folder).is_ok());
        let mut made: Vec<PathBuf> = made.map(|folder| folder.to_path_buf()).collect();
        made.reverse();
        Lent { made }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The first that is not empty ends it, and those around it are not empty either.
        let _ = self.made.iter().try_for_each(std::fs::remove_dir);
    }
}

/// What a library did when it was put through its paces.
#[derive(Debug, Serialize)]
pub struct Trial {
    pub description: Option<Description>,
    pub steps: Vec<Step>,
}

/// One thing that was tried.
#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    /// Why it went wrong.
    pub error: Option<String>,
    /// What came of it, for the author.
    pub note: String,
    pub elapsed_ms: f64,
}

impl Trial {
    /// Whether everything went as it must.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.error.is_none())
    }
}

/// Puts a library through its paces: load, create with `config` (JSON), finals, a partial, a body that is none, end.
///
/// # Errors
/// When no process can be started at all.
pub fn trial(library: &Path, config: &str, surroundings: &Surroundings) -> io::Result<Trial> {
    let plugin = config::Plugin {
        name: "trial".to_owned(),
        library: library.display().to_string(),
        sources: Vec::new(),
        timeout: LIMIT,
        memory_limit: 256 << 20,
        network: false,
        write: Vec::new(),
        sha256: String::new(),
        on_failure: config::OnFailure::Skip,
        config: Default::default(),
    };
    let mut launch = surroundings.launch(&plugin, &config::Plugins::default());
    launch.load.library = library.to_owned();
    launch.load.config = config.to_owned();
    blocking(run(&launch))
}

async fn run(launch: &Launch) -> Trial {
    let mut trial = Trial { description: None, steps: Vec::new() };
    let mut log = PluginLog::new("trial");
    let began = Instant::now();
    let started = Process::start(launch, &mut log).await;
    let mut process = match started {
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

    let mut silent = transcript(&[]);
    if let Body::TranscriptFinal(fields) = &mut silent.body {
        (fields.segments, fields.language, fields.emotion) = (None, None, None);
    }
    let words = "perhaps I shall cancel, please give me a refund; 我要退款。 Grüße 👋 ";
    let tries: [(&'static str, Event); 4] = [
        ("a final", transcript(&["Good morning.", words])),
        ("a final of silence", silent),
        ("a final of a long day", transcript(&vec![words; 5_000])),
        ("a partial", partial(1, words)),
    ];
    for (name, event) in tries.iter().filter(|(_, event)| wants.include(&event.kind())) {
        let began = Instant::now();
        let heard = match wire::event_frame(event) {
            Ok(frame) => ask(&mut process, &mut log, &frame).await,
            Err(error) => Err(error.to_string()),
        };
        let outcome = heard.and_then(|heard| match heard.result {
            Outcome::Ok if heard.refused_count == 0 => Ok(said(&heard)),
            Outcome::Ok => Err(format!("it says what the daemon refuses: {}", heard.refused.join("; "))),
            Outcome::Error | Outcome::Failed => Err(heard.why()),
        });
        let lost = outcome.is_err();
        trial.step(name, began, outcome);
        if lost {
            return trial;
        }
    }

    let began = Instant::now();
    let nonsense = ToChild::Event { kind: "transcript.final".to_owned(), body: RawValue::NULL };
    let heard = match wire::frame(&nonsense) {
        Ok(frame) => ask(&mut process, &mut log, &frame).await,
        Err(error) => Err(error.to_string()),
    };
    let outcome = heard.and_then(|heard| match heard.result {
        Outcome::Failed => Err("it gives up for good over one bad event; return HARK_ERROR".to_owned()),
        Outcome::Error => Ok("refused".to_owned()),
        Outcome::Ok => Ok("passed over".to_owned()),
    });
    trial.step("a body that is none", began, outcome);

    let began = Instant::now();
    let outcome = match process.end(LIMIT, log).await {
        Some(status) if status == "exited with status 0" => Ok("ended in good order".to_owned()),
        Some(status) => Err(format!("its process {status}")),
        None => Err(format!("it did not end within {LIMIT:?}")),
    };
    trial.step("destroy", began, outcome);
    trial
}

async fn ask(process: &mut Process, log: &mut PluginLog, frame: &[u8]) -> Result<Answer, String> {
    process.send(frame);
    let answered = tokio::time::timeout(LIMIT, async {
        loop {
            match process.next().await {
                Ok(FromChild::Answer(answer)) => return Ok(answer),
                Ok(FromChild::Log { level, line }) => log.line(level, &line),
                Ok(_) => return Err("it wrote into the daemon's socket".to_owned()),
                Err(Gone::Rubbish(words)) => return Err(words),
                Err(Gone::Ended) => return Err(format!("its process {}", process.exit(EXIT_LIMIT).await)),
            }
        }
    });
    answered.await.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")))
}

fn said(heard: &Answer) -> String {
    match (heard.said.len(), heard.replaced.is_some()) {
        (0, false) => "said nothing".to_owned(),
        (count, false) => format!("emitted {count}"),
        (0, true) => "replaced the text".to_owned(),
        (count, true) => format!("replaced the text, emitted {count}"),
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

/// On a thread of its own, so that it may be called from inside a runtime as well.
fn blocking<T: Send>(work: impl Future<Output = T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(work))
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that started it panicked")))
    })
}
