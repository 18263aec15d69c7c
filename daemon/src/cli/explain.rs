//! `harkd explain`: says how recordings would be recognized, why, and what it would cost. It sends nothing to a service.

mod estimate;
mod print;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use futures::StreamExt;

use self::estimate::{Estimator, Explained};
use super::{Exit, print as print_out, session};
use crate::config::{Config, DirectorySource, Route, Source};
use crate::counted::counted;
use crate::source::directory::recordings_in;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Audio files, folders of them, or http(s) addresses
    #[arg(required = true, value_name = "AUDIO")]
    audio: Vec<OsString>,
    /// The route; else that of the source whose folder has the file, else "default"
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is to be explained.
enum Audio {
    File(PathBuf),
    Url(String),
}

/// Explains each recording; ends with 1 if one of them could not be recognized.
pub fn execute(config: &Path, args: &Args) -> Result<(), Exit> {
    let config = Config::load(config)?;
    if let Some(name) = args.route.as_deref().filter(|name| config.route(name).is_none()) {
        return Err(Exit::Usage(format!("the config has no route {name:?}")));
    }
    let audio = find(&config, &args.audio)?;
    session::block_on(explain(&config, audio, args))
}

async fn explain(config: &Config, audio: Vec<Audio>, args: &Args) -> Result<(), Exit> {
    let estimator = Estimator::new(config)?;
    let count = audio.len();
    let shows_progress = count > 1 && std::io::stderr().is_terminal();
    let explained = futures::stream::iter(audio).map(|audio| {
        let estimator = &estimator;
        async move {
            match audio {
                Audio::File(path) => estimator.file(&path, route_of(config, &path, args)).await,
                Audio::Url(url) => estimator.url(&url, named(config, args)).await,
            }
        }
    });
    // In the order of the arguments; as many at a time as there are workers that decode.
    let mut explained = std::pin::pin!(explained.buffered(estimate::AT_A_TIME));
    let mut files: Vec<Explained> = Vec::with_capacity(count);
    while let Some(one) = explained.next().await {
        files.push(one);
        if shows_progress {
            eprint_progress(files.len(), count);
        }
    }
    print_out(|out| if args.json { print::json(out, &files) } else { print::for_people(out, &files) })?;
    match files.iter().filter(|file| file.error.is_some()).count() {
        0 => Ok(()),
        failed => {
            Err(Exit::Failed(format!("cannot be recognized: {failed} of {}", counted(count, "recording"))))
        }
    }
}

/// The files and addresses that the arguments name; of a folder, the files that its source would take, in order.
fn find(config: &Config, arguments: &[OsString]) -> Result<Vec<Audio>, Exit> {
    let mut found = Vec::new();
    for argument in arguments {
        if let Some(url) = argument.to_str().filter(|text| is_url(text)) {
            found.push(Audio::Url(url.to_owned()));
            continue;
        }
        let unread = |error| Exit::Usage(format!("reading {}: {error}", Path::new(argument).display()));
        let path = std::path::absolute(argument).map_err(unread)?;
        if std::fs::metadata(&path).map_err(unread)?.is_dir() {
            let source = source_of(config, &path).cloned();
            let source =
                source.unwrap_or_else(|| DirectorySource { path: path.clone(), ..Default::default() });
            found.extend(recordings_in(&source, &path).map_err(unread)?.into_iter().map(Audio::File));
        } else {
            found.push(Audio::File(path));
        }
    }
    Ok(found)
}

fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

/// The folder source in whose folder a path lies.
fn source_of<'a>(config: &'a Config, path: &Path) -> Option<&'a DirectorySource> {
    config.source.iter().filter_map(Source::folder).find(|source| path.starts_with(&source.path))
}

fn route_of<'a>(config: &'a Config, path: &Path, args: &Args) -> Option<&'a Route> {
    match source_of(config, path) {
        Some(source) if args.route.is_none() => config.route(&source.route),
        _ => named(config, args),
    }
}

fn named<'a>(config: &'a Config, args: &Args) -> Option<&'a Route> {
    config.route(args.route.as_deref().unwrap_or(crate::config::DEFAULT_ROUTE))
}

/// Replaces the line of progress on the terminal.
fn eprint_progress(done: usize, count: usize) {
    use std::io::Write;
    let end = if done == count { "\r\x1b[K" } else { "" };
    // A terminal that is gone needs no progress.
    let _ = write!(std::io::stderr(), "\r{done} of {count}{end}");
}
