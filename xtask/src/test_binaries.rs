//! The test programs, three at a time, and beside them a fourth that mostly waits for timers of other programs: one after the other, as `cargo
//! test` runs them, their waits would add up. The daemon's stories are one program; each module of them is a process of its own here. The
//! demos run among them.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::servers::KEY;
use crate::workspace::Workspace;

/// Three keep two cores busy; more would slow the tests' timers: each program runs as many tests at a time as there are cores.
const AT_A_TIME: usize = 3;

/// The program whose modules are run one by one.
const STORIES: &str = "stories";

/// The longest come first, so that none runs alone at the end.
const LONGEST: [&str; 13] = [
    "faults",
    "audio_worker",
    "two_daemons",
    "directory",
    "intake",
    "page",
    "inbox",
    "chaos",
    "local_faults",
    "broker",
    "webhooks",
    "large_events",
    "harkd",
];

/// They take hardly any processor time: they wait for a redelivery, a timeout, a broker that is stopped, a reader's eye. One of them runs
/// beside the others.
const WAITING: [&str; 6] = ["faults", "broker", "inbox", "intake", STAND_IN, DEMO];

/// The demo with the emulator, and with a real speech server.
const STAND_IN: &str = "stand-in";
const DEMO: &str = "demo";

/// A message of cargo about a build result.
#[derive(Debug, Deserialize)]
struct Artifact {
    target: Target,
    profile: Profile,
    manifest_path: PathBuf,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// What is run as one process.
#[derive(Clone)]
struct Run {
    /// The folder of its package, its kind and its name, as it is printed.
    title: String,
    name: String,
    program: PathBuf,
    /// The folder of its package.
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Run {
    /// The same program with only these tests.
    fn only(&self, tests: Vec<String>) -> Run {
        Run { arguments: ["--exact".to_owned()].into_iter().chain(tests).collect(), ..self.clone() }
    }
}

struct Ran {
    run: Run,
    output: std::io::Result<Output>,
    took: Duration,
}

/// Builds and runs all of them; the output of each is printed when it has ended. A test of [`TIMED`] that failed among the others is run
/// again alone. The examples in the docs come last. `listens`: there is a speech server for the demo.
///
/// Returns the tests that passed only alone.
///
/// # Errors
/// When something does not build, or names the programs that failed.
pub(crate) fn run(
    workspace: &Workspace,
    environment: &[(&str, PathBuf)],
    listens: bool,
) -> anyhow::Result<Vec<String>> {
    let mut runs = runs(&build(workspace)?)?;
    runs.extend(demos(workspace, listens));
    runs.sort_by_key(|run| LONGEST.iter().position(|name| *name == run.name).unwrap_or(LONGEST.len()));
    let runs = Mutex::new(VecDeque::from(runs));
    let (tell, ended) = mpsc::channel();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        for lane in 0..=AT_A_TIME {
            let (runs, tell) = (&runs, tell.clone());
            scope.spawn(move || {
                while let Some(run) = next(runs, lane == AT_A_TIME) {
                    let ran = run_one(run, environment);
                    if tell.send(ran).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        for ran in ended {
            if !print(&ran) {
                failed.push(ran);
            }
        }
    });
    let passed_alone = again(failed, environment)?;
    let docs = workspace.cargo(&["test", "--workspace", "--doc"]).status().context("starting cargo")?;
    ensure!(docs.success(), "an example in the docs failed");
    Ok(passed_alone)
}

/// The demos; they end by themselves.
fn demos(workspace: &Workspace, listens: bool) -> Vec<Run> {
    let demo = |name: &str, options: &[&str]| Run {
        title: name.to_owned(),
        name: name.to_owned(),
        program: workspace.built("xtask"),
        folder: workspace.path("xtask"),
        arguments: ["demo", "--once"].iter().chain(options).map(|&argument| argument.to_owned()).collect(),
    };
    let mut demos = vec![demo(STAND_IN, &["--emulator"])];
    if listens {
        demos.push(demo(DEMO, &[]));
    }
    demos
}

/// So many tests may pass only alone in one run: more are no accident of a busy machine.
const PASS_ALONE: usize = 3;

/// They hold real plugins to limits of some hundred milliseconds. Beside three other programs on two cores a plugin may stand still for
/// longer. A test of any other program may fail only for a fault: a race that loses or doubles something may pass the next time.
const TIMED: [&str; 2] = ["pipeline", "pipeline_leaves_nothing"];

/// Runs the tests of [`TIMED`] that failed once more, one at a time, while nothing else runs. Returns the tests that passed.
///
/// # Errors
/// Names the programs of which a test failed again, ended without naming the test that failed, or is not run again; and the tests, when too
/// many passed only alone.
fn again(failed: Vec<Ran>, environment: &[(&str, PathBuf)]) -> anyhow::Result<Vec<String>> {
    let (mut wrong, mut passed) = (Vec::new(), Vec::new());
    for ran in failed {
        let title = ran.run.title.clone();
        let tests = ran.output.map(|output| failures(&output.stdout)).unwrap_or_default();
        if tests.is_empty() || tests.len() > PASS_ALONE || !TIMED.contains(&ran.run.name.as_str()) {
            wrong.push(title);
            continue;
        }
        for test in tests {
            println!("{test} is run again, alone");
            if print(&run_one(ran.run.only(vec![test.clone()]), environment)) {
                passed.push(test);
            } else if !wrong.contains(&title) {
                wrong.push(title.clone());
            }
        }
    }
    ensure!(wrong.is_empty(), "tests failed in {}", wrong.join(", "));
    ensure!(passed.len() <= PASS_ALONE, "too many tests passed only alone: {}", passed.join(", "));
    Ok(passed)
}

/// The tests that failed, as a test program lists them at its end.
fn failures(stdout: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stdout);
    let Some((_, list)) = text.rsplit_once("\nfailures:\n") else { return Vec::new() };
    list.lines().map_while(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

fn build(workspace: &Workspace) -> anyhow::Result<Vec<Artifact>> {
    let output = workspace
        .cargo(&["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let programs: Vec<Artifact> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter::<serde_json::Value>()
        .map_while(Result::ok)
        // Cargo's other messages have another shape.
        .filter_map(|message| serde_json::from_value::<Artifact>(message).ok())
        .filter(|artifact| artifact.profile.test)
        .collect();
    ensure!(!programs.is_empty(), "cargo named no test programs");
    Ok(programs)
}

/// Every program once, but the stories by their modules.
fn runs(programs: &[Artifact]) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for artifact in programs {
        let Some(program) = &artifact.executable else { continue };
        let package = artifact.manifest_path.parent().unwrap_or(&artifact.manifest_path);
        let folder = package.file_name().unwrap_or_default().to_string_lossy();
        let kind = artifact.target.kind.first().map_or("", String::as_str);
        let run = |name: &str| Run {
            title: format!("{folder} {kind} {name}"),
            name: name.to_owned(),
            program: program.clone(),
            folder: package.to_owned(),
            arguments: Vec::new(),
        };
        if artifact.target.name == STORIES {
            runs.extend(stories(program, package)?.into_iter().map(|(story, tests)| run(&story).only(tests)));
        } else {
            runs.push(run(&artifact.target.name));
        }
    }
    Ok(runs)
}

/// The tests of each module, as the program lists them: `module::test: test`.
fn stories(program: &Path, package: &Path) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let listed = Command::new(program)
        .args(["--list", "--format", "terse"])
        .current_dir(package)
        .output()
        .context("listing the stories")?;
    ensure!(listed.status.success(), "the stories cannot be listed: {}", listed.status);
    let mut stories = BTreeMap::<String, Vec<String>>::new();
    for test in String::from_utf8_lossy(&listed.stdout).lines().filter_map(|line| line.strip_suffix(": test"))
    {
        let story = test.split("::").next().unwrap_or(test);
        stories.entry(story.to_owned()).or_default().push(test.to_owned());
    }
    ensure!(!stories.is_empty(), "there are no stories");
    Ok(stories)
}

/// The next of this lane's kind, waiting or not; the other lanes take waiting ones too when their own are done.
fn next(runs: &Mutex<VecDeque<Run>>, waiting: bool) -> Option<Run> {
    let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
    let waits = |run: &Run| WAITING.contains(&run.name.as_str());
    match runs.iter().position(|run| waits(run) == waiting) {
        Some(place) => runs.remove(place),
        None if waiting => None,
        None => runs.pop_front(),
    }
}

/// The seed of the property tests. It is the same in every run, so that a run tells about the change that it tests; a single test that is run
/// with `cargo test` draws new inputs.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

fn run_one(run: Run, environment: &[(&str, PathBuf)]) -> Ran {
    let begin = Instant::now();
    let output = Command::new(&run.program)
        .args(&run.arguments)
        .current_dir(&run.folder)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        // Nothing here may use the cloud's service, which costs.
        .env_remove(KEY)
        .env("CARGO_MANIFEST_DIR", &run.folder)
        .env(PROPERTY_SEED, std::env::var_os(PROPERTY_SEED).unwrap_or_else(|| "1".into()))
        .stdin(Stdio::null())
        .output();
    Ran { run, output, took: begin.elapsed() }
}

/// Prints the result; returns whether the tests passed.
fn print(ran: &Ran) -> bool {
    println!("-- {} ({:.1} s)", ran.run.title, ran.took.as_secs_f64());
    match &ran.output {
        Ok(output) => {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            if !output.status.success() {
                print!("{}", String::from_utf8_lossy(&output.stderr));
            }
            output.status.success()
        }
        Err(error) => {
            println!("it could not be started: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_that_failed_are_read_from_the_end_of_the_output() {
        let output = "running 2 tests\ntest a::b ... FAILED\ntest c ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n    not a test\n\n\
                      failures:\n    a::b\n    c\n\ntest result: FAILED. 0 passed; 2 failed\n";
        assert_eq!(failures(output.as_bytes()), ["a::b", "c"]);
        assert!(failures(b"running 1 test\n").is_empty());
    }
}
