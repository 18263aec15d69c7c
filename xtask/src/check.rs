//! `cargo xtask test`: what CI does. Formatting comes first; then the tools, the lints and the builds beside each other; then the tests.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use parking_lot::Mutex;

use crate::speech::{Speech, Unavailable};
use crate::workspace::Workspace;
use crate::{debian, nats_server, python, terminal, test_binaries};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fail where ffmpeg, chromium, promtool or the packages of the speech server cannot be had, in place of leaving out what needs them
    #[arg(long)]
    all: bool,
}

/// Runs every step and prints how long each took. A step that fails ends the run, after the steps beside it have ended.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let report = Report::default();
    let outcome = steps(workspace, options, &report);
    report.print();
    outcome
}

fn steps(workspace: &Workspace, options: &Options, report: &Report) -> anyhow::Result<()> {
    report.cargo("formatting", workspace.cargo(&["fmt", "--all", "--check"]))?;
    // Beside each other: the tools come over the network, and each of the builds leaves a core idle at its end, which is one large crate.
    let (tools, checked, built) = std::thread::scope(|scope| {
        let tools = scope.spawn(|| find_tools(workspace, options, report));
        let checked = scope.spawn(|| check(workspace, report));
        let built = build(workspace, report);
        (tools.join(), checked.join(), built)
    });
    let panicked = |_| anyhow::anyhow!("a thread of xtask panicked");
    let tools = tools.map_err(panicked)??;
    checked.map_err(panicked)??;
    built?;
    let mut environment = vec![("HARK_TESTS_BUILT", PathBuf::from("1"))];
    environment.push((nats_server::VARIABLE, tools.nats_server));
    environment.extend(tools.promtool.map(|path| ("HARK_PROMTOOL", path)));
    environment.push(("HARK_PYTHON", tools.interpreter));
    if options.all {
        environment.push(("HARK_TESTS_ALL", PathBuf::from("1")));
    }
    report.step("tests", || {
        for test in test_binaries::run(workspace, &environment, tools.listens)? {
            report.remark(&format!("{test} FAILED AMONG THE OTHERS and passed alone"));
        }
        Ok(())
    })
}

/// What the tests need besides what cargo builds.
struct Tools {
    nats_server: PathBuf,
    promtool: Option<PathBuf>,
    /// Python with the packages of the tests.
    interpreter: PathBuf,
    /// Whether there is a speech server.
    listens: bool,
}

fn find_tools(workspace: &Workspace, options: &Options, report: &Report) -> anyhow::Result<Tools> {
    let mut tools = report.step("tools", || {
        let nats_server = nats_server::find_or_install(workspace)?.path;
        let decodes = debian::find_or_install("ffmpeg", "ffmpeg")?;
        ensure!(decodes || !options.all, "ffmpeg is not installed (Debian and Ubuntu: apt install ffmpeg)");
        let promtool = debian::find_or_unpack("promtool", "prometheus", &workspace.tools())?;
        ensure!(
            promtool.is_some() || !options.all,
            "promtool is not there (Debian and Ubuntu: the package prometheus has it)"
        );
        let browses = debian::find_or_install("chromium", "chromium")?;
        ensure!(
            browses || !options.all,
            "chromium is not installed (Debian and Ubuntu: apt install chromium)"
        );
        let interpreter = python::environment(workspace)?.with_test_requirements(workspace)?.interpreter();
        if !decodes {
            report.remark(NOT_DECODED);
        }
        if promtool.is_none() {
            report.remark(NO_PROMETHEUS);
        }
        if !browses {
            report.remark(NOT_SEEN);
        }
        Ok(Tools { nats_server, promtool, interpreter, listens: true })
    })?;
    report.step("speech", || match Speech::find_or_install(workspace) {
        Err(error) if error.is::<Unavailable>() && !options.all => {
            println!("{}", terminal::red(NOT_HEARD));
            report.remark(NOT_HEARD);
            tools.listens = false;
            Ok(())
        }
        outcome => outcome.map(|speech| println!("{speech}")),
    })?;
    Ok(tools)
}

/// What needs no code to be generated. It has a target directory of its own, since cargo lets one command at a time into each.
fn check(workspace: &Workspace, report: &Report) -> anyhow::Result<()> {
    let mut clippy = workspace.cargo(&["clippy", "--workspace", "--all-targets"]);
    clippy.arg("--target-dir").arg(workspace.checks()).args(["--", "--deny", "warnings"]);
    report.quiet_cargo("clippy", clippy)?;
    let mut docs = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
    docs.arg("--target-dir").arg(workspace.checks()).env("RUSTDOCFLAGS", "--deny warnings");
    report.quiet_cargo("docs", docs)
}

/// Builds all that the tests start and load, which `cargo test` alone would not build, and the tests.
fn build(workspace: &Workspace, report: &Report) -> anyhow::Result<()> {
    report.cargo("build", workspace.cargo(&["build", "--workspace"]))?;
    report.cargo("test build", workspace.cargo(&["test", "--workspace", "--no-run"]))
}

/// What needs ffmpeg.
const NOT_DECODED: &str = "NOTHING WAS DECODED WITH FFMPEG, which is not installed (Debian and Ubuntu: apt install ffmpeg): the tests of containers \
                           were skipped";

/// What needs promtool.
const NO_PROMETHEUS: &str = "NO ALARM WAS RUNG: promtool is not there (Debian and Ubuntu: the package prometheus has it); config/dashboards was \
                             only compared with the names of the metrics";

/// What needs Chromium.
const NOT_SEEN: &str = "NO PAGE WAS SEEN IN A BROWSER, for chromium is not installed (Debian and Ubuntu: apt install chromium): the stories of the live \
                        page were skipped";

/// Why there is no demo that recognizes.
const NOT_HEARD: &str = "NO SPEECH WAS RECOGNIZED: the packages of the speech server cannot be had; only the stand-in's demo was run, and the \
                         test real_speech was skipped";

/// What was done so far, and how long it took. Steps may run beside each other.
#[derive(Default)]
struct Report {
    rows: Mutex<Vec<(&'static str, Duration, bool)>>,
    /// What a reader must not overlook: what was not run, what passed only alone.
    remarks: Mutex<Vec<String>>,
}

impl Report {
    /// Runs a step of cargo, whose output is seen as it comes.
    fn cargo(&self, name: &'static str, mut command: Command) -> anyhow::Result<()> {
        self.step(name, || {
            let status = command.status().context("starting cargo")?;
            ensure!(status.success(), "cargo ended with {status}");
            Ok(())
        })
    }

    /// Runs a step of cargo beside others. Its output is seen only if it fails, and in one piece.
    fn quiet_cargo(&self, name: &'static str, mut command: Command) -> anyhow::Result<()> {
        self.step(name, || {
            let output = command.output().context("starting cargo")?;
            ensure!(
                output.status.success(),
                "cargo ended with {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            Ok(())
        })
    }

    fn step<T>(&self, name: &'static str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        println!("{}", terminal::bold(&format!("== {name}")));
        let begin = Instant::now();
        let outcome = work();
        self.rows.lock().push((name, begin.elapsed(), outcome.is_ok()));
        outcome.with_context(|| format!("step {name:?}"))
    }

    fn remark(&self, remark: &str) {
        self.remarks.lock().push(remark.to_owned());
    }

    fn print(&self) {
        println!();
        for (name, elapsed, good) in self.rows.lock().iter() {
            let word = if *good { terminal::green("ok") } else { terminal::red("FAILED") };
            println!("{name:<12} {:>7.1} s  {word}", elapsed.as_secs_f64());
        }
        for remark in self.remarks.lock().iter() {
            println!("{}", terminal::red(remark));
        }
    }
}
