//! `cargo xtask test`: what CI does, in the order in which a mistake is cheapest to find.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::speech::{Speech, Unavailable};
use crate::workspace::Workspace;
use crate::{debian, nats_server, python, terminal, test_binaries};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fail where ffmpeg, chromium, promtool or the packages of the speech server cannot be had, in place of leaving out what needs them
    #[arg(long)]
    all: bool,
}

/// Runs every step and prints how long each took; the first that fails ends it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let mut report = Report::default();
    let outcome = steps(workspace, options, &mut report);
    report.print();
    outcome
}

fn steps(workspace: &Workspace, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut nats_server = None;
    let mut interpreter = None;
    let (mut decodes, mut browses) = (true, true);
    let mut promtool = None;
    report.step("tools", || {
        nats_server = Some(nats_server::find_or_install(workspace)?.path);
        decodes = debian::find_or_install("ffmpeg", "ffmpeg")?;
        ensure!(decodes || !options.all, "ffmpeg is not installed (Debian and Ubuntu: apt install ffmpeg)");
        promtool = debian::find_or_unpack("promtool", "prometheus", &workspace.tools())?;
        ensure!(
            promtool.is_some() || !options.all,
            "promtool is not there (Debian and Ubuntu: the package prometheus has it)"
        );
        browses = debian::find_or_install("chromium", "chromium")?;
        ensure!(
            browses || !options.all,
            "chromium is not installed (Debian and Ubuntu: apt install chromium)"
        );
        interpreter = Some(python::environment(workspace)?.with_test_requirements(workspace)?.interpreter());
        Ok(())
    })?;
    if !decodes {
        report.remarks.push(NOT_DECODED.to_owned());
    }
    if promtool.is_none() {
        report.remarks.push(NO_PROMETHEUS.to_owned());
    }
    if !browses {
        report.remarks.push(NOT_SEEN.to_owned());
    }
    let mut listens = true;
    report.step("speech", || match Speech::find_or_install(workspace) {
        Err(error) if error.is::<Unavailable>() && !options.all => {
            println!("{}", terminal::red(NOT_HEARD));
            listens = false;
            Ok(())
        }
        outcome => outcome.map(|speech| println!("{speech}")),
    })?;
    report.cargo("formatting", workspace.cargo(&["fmt", "--all", "--check"]))?;
    report.cargo(
        "clippy",
        workspace.cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    )?;
    // Before the tests: they start the emulator and load the plugins, which `cargo test` alone would not build.
    report.cargo("build", workspace.cargo(&["build", "--workspace"]))?;
    let mut environment = vec![("HARK_TESTS_BUILT", PathBuf::from("1"))];
    environment.extend(nats_server.map(|path| (nats_server::VARIABLE, path)));
    environment.extend(promtool.map(|path| ("HARK_PROMTOOL", path)));
    environment.extend(interpreter.map(|path| ("HARK_PYTHON", path)));
    if options.all {
        environment.push(("HARK_TESTS_ALL", PathBuf::from("1")));
    }
    let mut passed_alone = Vec::new();
    report.step("tests", || {
        passed_alone = test_binaries::run(workspace, &environment, listens)?;
        Ok(())
    })?;
    report
        .remarks
        .extend(passed_alone.iter().map(|test| format!("{test} FAILED AMONG THE OTHERS and passed alone")));
    if !listens {
        report.remarks.push(NOT_HEARD.to_owned());
    }
    let mut docs = workspace.cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "--deny warnings");
    report.cargo("docs", docs)
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

/// What was done so far, and how long it took.
#[derive(Default)]
struct Report {
    rows: Vec<(&'static str, Duration, bool)>,
    /// What a reader must not overlook: what was not run, what passed only alone.
    remarks: Vec<String>,
}

impl Report {
    fn cargo(&mut self, name: &'static str, mut command: Command) -> anyhow::Result<()> {
        self.step(name, || {
            let status = command.status().context("starting cargo")?;
            if !status.success() {
                bail!("cargo ended with {status}");
            }
            Ok(())
        })
    }

    fn step(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        println!("{}", terminal::bold(&format!("== {name}")));
        let begin = Instant::now();
        let outcome = work();
        self.rows.push((name, begin.elapsed(), outcome.is_ok()));
        outcome.with_context(|| format!("step {name:?}"))
    }

    fn print(&self) {
        println!();
        for (name, elapsed, good) in &self.rows {
            let word = if *good { terminal::green("ok") } else { terminal::red("FAILED") };
            println!("{name:<12} {:>7.1} s  {word}", elapsed.as_secs_f64());
        }
        for remark in &self.remarks {
            println!("{}", terminal::red(remark));
        }
    }
}
