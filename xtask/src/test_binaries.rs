//! The test binaries, two at a time, and beside them those that mostly wait for timers of other programs: one after the other, as `cargo
//! test` runs them, their waits would add up.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::workspace::Workspace;

/// More at a time would slow the tests' timers on two cores: each binary runs as many tests at a time as there are cores.
const AT_A_TIME: usize = 2;

/// The longest come first, so that none runs alone at the end.
const LONGEST: [&str; 3] = ["chaos", "two_daemons", "stalled"];

/// They take hardly any processor time: they wait for a redelivery, a timeout, a broker that is stopped. One of them runs beside the
/// others.
const WAITING: [&str; 4] = ["faults", "broker", "inbox", "intake"];

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

struct Ran {
    name: String,
    output: std::io::Result<Output>,
    took: Duration,
}

/// Builds and runs all of them; the output of each is printed when it has ended. The examples in the docs come last.
///
/// # Errors
/// When something does not build, or names the binaries that failed.
pub(crate) fn run(workspace: &Workspace, environment: &[(&str, PathBuf)]) -> anyhow::Result<()> {
    let binaries = Mutex::new(build(workspace)?);
    let (tell, ended) = mpsc::channel();
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        for lane in 0..=AT_A_TIME {
            let (binaries, tell) = (&binaries, tell.clone());
            scope.spawn(move || {
                while let Some(binary) = next(binaries, lane == AT_A_TIME) {
                    let ran = run_one(&binary, environment);
                    if tell.send(ran).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        for ran in ended {
            if !print(&ran) {
                failed.push(ran.name);
            }
        }
    });
    ensure!(failed.is_empty(), "tests failed in {}", failed.join(", "));
    let docs = workspace.cargo(&["test", "--workspace", "--doc"]).status().context("starting cargo")?;
    ensure!(docs.success(), "an example in the docs failed");
    Ok(())
}

fn build(workspace: &Workspace) -> anyhow::Result<VecDeque<Artifact>> {
    let output = workspace
        .cargo(&["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let mut binaries: Vec<Artifact> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter::<serde_json::Value>()
        .map_while(Result::ok)
        // Cargo's other messages have another shape.
        .filter_map(|message| serde_json::from_value::<Artifact>(message).ok())
        .filter(|artifact| artifact.profile.test && artifact.executable.is_some())
        .collect();
    ensure!(!binaries.is_empty(), "cargo named no test binaries");
    binaries.sort_by_key(|binary| {
        LONGEST.iter().position(|name| *name == binary.target.name).unwrap_or(LONGEST.len())
    });
    Ok(binaries.into())
}

/// The next binary of this lane's kind, waiting or not; the other lanes take waiting ones too when their own are done.
fn next(binaries: &Mutex<VecDeque<Artifact>>, waiting: bool) -> Option<Artifact> {
    let mut binaries = binaries.lock().unwrap_or_else(PoisonError::into_inner);
    let waits = |binary: &Artifact| WAITING.contains(&binary.target.name.as_str());
    match binaries.iter().position(|binary| waits(binary) == waiting) {
        Some(place) => binaries.remove(place),
        None if waiting => None,
        None => binaries.pop_front(),
    }
}

fn run_one(binary: &Artifact, environment: &[(&str, PathBuf)]) -> Ran {
    let kind = binary.target.kind.first().map_or("", String::as_str);
    let package = binary.manifest_path.parent().unwrap_or(&binary.manifest_path);
    let folder = package.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{folder} {kind} {}", binary.target.name);
    let begin = Instant::now();
    let output = Command::new(binary.executable.as_deref().unwrap_or(package))
        .current_dir(package)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .env("CARGO_MANIFEST_DIR", package)
        .stdin(Stdio::null())
        .output();
    Ran { name, output, took: begin.elapsed() }
}

/// Prints the result; returns whether the binary passed.
fn print(ran: &Ran) -> bool {
    println!("-- {} ({:.1} s)", ran.name, ran.took.as_secs_f64());
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
