//! `cargo xtask demo`: all of Hark on one machine, fed with sample recordings, its events in the terminal. A speech server on this machine
//! recognizes them, unless the operator chooses another recognizer.

mod money;
mod stage;
mod watch;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use self::stage::{Service, Stage};
use self::watch::Watch;
use self::words::Words;
use crate::interrupt::{Interrupt, Interrupted};
use crate::nats_server;
use crate::samples;
use crate::servers::KEY;
use crate::speech::Speech;
use crate::terminal::{bold, dim, green};
use crate::workspace::Workspace;

/// In the order in which they are shown: short and lively recordings first.
const FOLDER_SAMPLES: [&str; 5] = ["cancel.wav", "thanks.wav", "stereo.flac", "chinese.flac", "training.mp3"];
/// This sample is sent over NATS instead of through the folder.
const SUBMITTED_SAMPLE: &str = "appointment.wav";
/// espeak-ng speaks it, for flite has no Chinese voice; whisper-base does not understand espeak-ng.
const SAMPLE_OF_ESPEAK: &str = "chinese.flac";
/// Too long for flash, and the US region has no filetrans.
const LONG_SAMPLE: &str = "training.mp3";
/// Percent of the samples' words; whisper-base hears over 90.
const LEAST_HEARD: usize = 70;
/// Long enough that a person can read one recording's lines before the next begins.
const PAUSE: Duration = Duration::from_millis(700);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// End when all sample recordings have ended: with 0, or with an error if one failed
    #[arg(long)]
    once: bool,
    /// Region of the real service, which is used when DASHSCOPE_API_KEY is set
    #[arg(long, value_enum, default_value_t = Region::Singapore)]
    region: Region,
    /// Use the stand-in for the cloud's service: it shows streaming and emotion, recognizes nothing and downloads nothing
    #[arg(long)]
    emulator: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Region {
    Singapore,
    Us,
    Beijing,
}

/// Runs until Ctrl-C, or with `--once` until the last sample's job has ended. Everything that was started ends with it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    // Before signals are received here: Ctrl-C ends pip and cargo, and xtask with them.
    let prepared = Prepared::new(workspace, options)?;
    let interrupt = Interrupt::listen()?;
    match show(workspace, options, prepared, &interrupt) {
        // An end before the last sample means that --once has not completed its task.
        Err(error) if error.is::<Interrupted>() && !options.once => {
            println!("\nended");
            Ok(())
        }
        outcome => outcome,
    }
}

/// What is found, installed and built before anything starts.
struct Prepared {
    nats_server: PathBuf,
    service: Service,
}

impl Prepared {
    fn new(workspace: &Workspace, options: &Options) -> anyhow::Result<Prepared> {
        let nats_server = nats_server::find_or_install(workspace)?;
        println!("nats-server {} at {}", nats_server.version, nats_server.path.display());
        let service = match api_key() {
            _ if options.emulator => Service::Emulator,
            // A server that the operator names comes before a service that costs.
            Some(key) if !Speech::is_named() => Service::Real { region: options.region, key },
            _ => Service::Own(Speech::find_or_install(workspace)?),
        };
        build(workspace)?;
        Ok(Prepared { nats_server: nats_server.path, service })
    }
}

fn show(
    workspace: &Workspace,
    options: &Options,
    prepared: Prepared,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let Prepared { nats_server, service } = prepared;
    let files = files(&service);
    let recognizes = !matches!(service, Service::Emulator);
    introduce(workspace, &service, &files, options, interrupt)?;

    let mut stage = Stage::start(workspace, &nats_server, service, interrupt)?;
    let mut watch = Watch::start(&stage, interrupt)?;
    for file in &files {
        interrupt.sleep(PAUSE)?;
        let sample = workspace.path(samples::FOLDER).join(file);
        if *file == SUBMITTED_SAMPLE {
            println!("{}", dim(&format!("-- {file}: published on NATS with harkd submit")));
            stage.submit(&sample)?;
        } else {
            println!("{}", dim(&format!("-- {file}: dropped into {}", stage.calls().display())));
            drop_into(&stage, &sample)?;
        }
        watch.until_ended(file, &mut stage, interrupt)?;
    }
    interrupt.sleep(PAUSE)?;
    println!("\n{}", watch.summary());
    if let Some(failure) = watch.failure() {
        bail!("{failure}");
    }
    if recognizes {
        let mut words = Words::default();
        for entry in
            samples::manifest(workspace)?.values().filter(|entry| files.contains(&entry.name.as_str()))
        {
            words.compare(&entry.text, watch.text_of(&entry.name));
        }
        println!("{words}");
        if options.once && words.percent_heard() < LEAST_HEARD {
            bail!("a recognizer that hears less than {LEAST_HEARD} % of the samples' words does not work");
        }
    }
    if options.once {
        return Ok(());
    }
    println!("{}", invitation(&stage));
    loop {
        interrupt.sleep(Duration::from_secs(1))?;
        stage.all_run()?;
        watch.all_run()?;
    }
}

fn build(workspace: &Workspace) -> anyhow::Result<()> {
    println!("building harkd, the emulator and the plugin (some minutes the first time)");
    // The whole workspace, as `cargo xtask test` builds it: a build of fewer packages would choose other features, and each command would
    // rebuild.
    let status = workspace.cargo(&["build", "--workspace"]).status().context("starting cargo build")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    Ok(())
}

fn api_key() -> Option<String> {
    std::env::var(KEY).ok().filter(|key| !key.trim().is_empty())
}

fn files(service: &Service) -> Vec<&'static str> {
    let mut files = FOLDER_SAMPLES.to_vec();
    files.insert(2, SUBMITTED_SAMPLE);
    if matches!(service, Service::Own(_)) {
        // The five minutes would keep this machine busy for more than one; they can be dropped into the folder by hand.
        files.retain(|file| *file != SAMPLE_OF_ESPEAK && *file != LONG_SAMPLE);
    }
    files
}

/// Says what recognizes. With the cloud's service, nothing is spent before the cost was printed.
fn introduce(
    workspace: &Workspace,
    service: &Service,
    files: &[&str],
    options: &Options,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let region = match service {
        Service::Own(speech) => {
            println!(
                "{}",
                bold("The recordings are really recognized, and so is what you drop into the folder.")
            );
            println!("The recognizer is {speech}.");
            return Ok(());
        }
        Service::Emulator => {
            println!(
                "{}",
                bold("The emulator stands in for the cloud's service, and it recognizes nothing.")
            );
            println!(
                "The texts come from a manifest ({}), by the sha256 of each recording.",
                samples::MANIFEST
            );
            return Ok(());
        }
        Service::Real { region, .. } => region,
    };
    let lengths: BTreeMap<String, f64> = samples::manifest(workspace)?
        .into_values()
        .map(|entry| (entry.name.clone(), entry.seconds()))
        .collect();
    let seconds: f64 = files.iter().filter_map(|file| lengths.get(*file)).map(|seconds| seconds.ceil()).sum();
    money::agree(*region, seconds, options.once, interrupt)
}

/// Copied under another name first, so that harkd finds the whole file or nothing.
fn drop_into(stage: &Stage, sample: &std::path::Path) -> anyhow::Result<()> {
    let name = sample.file_name().unwrap_or_default();
    let part = stage.calls().join(format!("{}.part", name.display()));
    fs::copy(sample, &part).with_context(|| format!("copying {}", sample.display()))?;
    fs::rename(&part, stage.calls().join(name)).with_context(|| format!("renaming {}", part.display()))
}

fn invitation(stage: &Stage) -> String {
    format!(
        "{}\n  drop audio into    {}\n  or publish it      {} --config {} submit FILE\n  see it             http://{}/ (the token: {})\n  metrics            http://{}/metrics\n{}",
        green("Your turn:"),
        stage.calls().display(),
        stage.harkd().display(),
        stage.config().display(),
        stage.http(),
        stage.token().unwrap_or_else(|error| error.to_string()),
        stage.http(),
        bold("Ctrl-C ends everything and removes the folder.")
    )
}
