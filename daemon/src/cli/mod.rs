//! The command line: one file per subcommand.

mod check;
mod completions;
mod config;
mod daemons;
mod doctor;
mod event_line;
mod explain;
mod follow;
mod forget;
mod jobs;
mod man;
mod plugins;
mod replay;
mod rules;
mod run;
mod schema;
mod screen;
mod session;
mod sources;
mod submit;
mod table;
mod tail;
mod webhooks;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use tracing::Level;

use crate::config::Mistakes;
use crate::telemetry::logging::{priority, readable, readable_json};
use crate::{audio, os, pipeline};

/// Hark listens: audio from folders and NATS subjects goes in, transcripts come out as NATS events.
#[derive(Debug, Parser)]
#[command(name = "harkd", version)]
pub struct Args {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/hark/harkd.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run,
    /// Validate the configuration, plugins included; connects to nothing
    Check(check::Args),
    /// Print the manual, or what file and environment make of it
    #[command(subcommand)]
    Config(config::Command),
    /// Check what the configuration needs: services, key, NATS, folders, disk, plugins; costs nothing and changes nothing
    Doctor(doctor::Args),
    /// Say what would happen to recordings, why, and what it would cost; sends nothing
    Explain(explain::Args),
    /// Put audio on a NATS source of the daemon
    Submit(submit::Args),
    /// Follow events in the terminal
    Tail(tail::Args),
    /// List the running daemons' jobs, show one, retry one, cancel one
    Jobs(ListOr<jobs::Command>),
    /// List the running daemons' sources; pause, resume or scan them
    Sources(ListOr<sources::Command>),
    /// Erase jobs: ledger, events, objects, files that plugins wrote; says what could not be reached
    Forget(forget::Args),
    /// Load plugins and list them; try a library, create a plugin, end a quarantine
    Plugins(ListOr<plugins::Command>),
    /// Run today's plugins over old calls and compare what they say with what was said then
    Replay(replay::Args),
    /// Test the rules of keyword_alert against transcripts
    #[command(subcommand)]
    Rules(rules::Command),
    /// Print the schemas of events, configuration and subjects, for programs and editors
    #[command(subcommand)]
    Schema(schema::Command),
    /// Print a script that completes commands and options in a shell
    Completions(completions::Args),
    /// (internal) writes the manual pages; packages are made with it
    #[command(hide = true)]
    Man(man::Args),
    /// State of the running daemons' webhooks; send a test event, send again what was set aside, end a pause
    Webhooks(ListOr<webhooks::Command>),
    /// (internal) the process that a plugin runs in
    #[command(hide = true)]
    PluginHost,
    /// (internal) the process that parses audio
    #[command(hide = true)]
    AudioWorker,
    /// (internal) the process that becomes ffmpeg
    #[command(hide = true)]
    Ffmpeg,
}

/// The arguments of a command that lists what there is, unless a subcommand says otherwise.
#[derive(Debug, clap::Args)]
pub struct ListOr<C: Subcommand> {
    #[command(subcommand)]
    command: Option<C>,
    /// JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
}

impl Args {
    /// Carries out the command.
    pub fn execute(self) -> ExitCode {
        let config = self.config.as_path();
        let outcome = match self.command {
            Command::Run => run::execute(config),
            Command::Check(args) => check::execute(config, &args),
            Command::Config(command) => config::execute(config, &command),
            Command::Doctor(args) => doctor::execute(config, &args),
            Command::Explain(args) => explain::execute(config, &args),
            Command::Submit(args) => submit::execute(config, &args),
            Command::Tail(args) => tail::execute(config, &args),
            Command::Jobs(args) => jobs::execute(config, &args),
            Command::Sources(args) => sources::execute(config, &args),
            Command::Forget(args) => forget::execute(config, &args),
            Command::Plugins(args) => plugins::execute(config, &args),
            Command::Replay(args) => replay::execute(config, &args),
            Command::Rules(command) => rules::execute(config, &command),
            Command::Schema(command) => schema::execute(config, &command),
            Command::Completions(args) => completions::execute(&args),
            Command::Man(args) => man::execute(&args),
            Command::Webhooks(args) => webhooks::execute(config, &args),
            Command::PluginHost => ended("plugin-host", pipeline::child::run()),
            Command::AudioWorker => ended(
                "audio-worker",
                os::enter(c"hark-audio").and_then(|socket| audio::worker::serve(&socket)),
            ),
            Command::Ffmpeg => {
                ended("ffmpeg", os::enter(c"hark-ffmpeg").and_then(|socket| audio::ffmpeg::run(&socket)))
            }
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(exit) => exit.report(),
        }
    }
}

/// The end of a child process, which the daemon alone starts.
fn ended(child: &str, outcome: io::Result<()>) -> Result<(), Exit> {
    outcome.map_err(|error| Exit::Software(format!("{child}: {error}")))
}

/// Why a command failed, in one line; the numbers are the exit codes of `sysexits.h`, which systemd and scripts know.
#[derive(Debug, thiserror::Error)]
pub enum Exit {
    /// 1: the work itself failed, such as a job that `submit --wait` followed.
    #[error("{0}")]
    Failed(String),
    /// 64: the command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// 69: NATS or another needed service does not answer (commands only; `run` waits).
    #[error("{0}")]
    Unavailable(String),
    /// 70: a bug of Hark, or a failure of the machine.
    #[error("{0}")]
    Software(String),
    /// 78: the configuration.
    #[error("{0}")]
    Config(String),
}

impl Exit {
    fn report(self) -> ExitCode {
        complain(&format!("harkd: {self}"));
        ExitCode::from(match self {
            Exit::Failed(_) => 1,
            Exit::Usage(_) => 64,
            Exit::Unavailable(_) => 69,
            Exit::Software(_) => 70,
            Exit::Config(_) => 78,
        })
    }
}

impl From<Mistakes> for Exit {
    /// Prints each mistake; the error itself has only their number.
    fn from(mistakes: Mistakes) -> Self {
        for (place, text) in mistakes.lines() {
            complain(&format!("{place}: {text}"));
        }
        Exit::Config(mistakes.count())
    }
}

/// Prints a line for the operator on stderr. A failed write is ignored: if stderr is closed, no person reads the line, and the exit code must
/// be that of the command.
fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{}", readable(words));
}

/// The same for what the operator has to correct; under systemd the journal stores the line as an error.
fn complain(words: &str) {
    let _ = writeln!(std::io::stderr(), "{}{}", priority(Level::ERROR), readable(words));
}

/// A line of a command's output, for a person.
fn write_line(out: &mut impl Write, words: &str) -> io::Result<()> {
    writeln!(out, "{}", readable(words))
}

/// A line of a command's output, for a program.
fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", readable_json(&serde_json::to_string(value)?))
}

/// Writes a command's output to stdout; false if its reader is gone (`harkd tail | head`), which is no failure.
fn print(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) -> Result<bool, Exit> {
    let mut out = io::stdout().lock();
    has_reader(write(&mut out).and_then(|()| out.flush()))
}

/// Whether the reader of stdout is still there.
fn has_reader(written: io::Result<()>) -> Result<bool, Exit> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Exit::Software(format!("writing to stdout: {error}"))),
    }
}

/// Prints clap's message. Help and version are successes, every other message ends with 64.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS }
}
