//! Sources: their list, pauses, scans.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::info;

use super::{Named, Refusal, Steer};
use crate::config;
use crate::job::ledger::pause;
use crate::source::switch::Switch;

/// The sources that run, by name; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Board {
    running: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// Held while a request stores a pause and switches the source: with two requests at once, ledger and source must end in the same state.
    switching: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone)]
struct Entry {
    source: config::Source,
    switch: Switch,
    watching: watch::Receiver<Result<(), String>>,
}

/// What a source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "SourceState")]
pub enum State {
    /// It takes recordings in.
    Running,
    /// It cannot take recordings in; `reason` says why.
    Waiting,
    /// An operator has paused it: it takes nothing new in.
    Paused,
}

/// A source as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Source")]
pub struct Listed {
    pub name: String,
    /// `directory` or `nats`.
    pub kind: String,
    pub state: State,
    pub route: String,
    /// Its folder, or its subject.
    pub place: String,
    /// Why it waits, or what of it cannot be watched.
    pub reason: Option<String>,
    /// Since when it is paused.
    pub paused_since: Option<Timestamp>,
}

/// The sources of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    pub sources: Vec<Listed>,
}

/// A request without a question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Board {
    /// Adds a source that runs, or replaces it. `watching`: what it reports.
    pub fn put(
        &self,
        source: &config::Source,
        switch: Switch,
        watching: watch::Receiver<Result<(), String>>,
    ) {
        let entry = Entry { source: source.clone(), switch, watching };
        self.running.lock().insert(source.name().to_owned(), entry);
    }

    /// Removes a source that runs no more.
    pub fn remove(&self, name: &str) {
        self.running.lock().remove(name);
    }

    /// The config of a source that runs.
    pub(super) fn source(&self, name: &str) -> Option<config::Source> {
        self.running.lock().get(name).map(|entry| entry.source.clone())
    }

    fn entry(&self, name: &str) -> Result<Entry, Refusal> {
        let entries = self.running.lock();
        entries.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = entries.keys().map(String::as_str).collect();
            let has = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            Refusal::Unknown(format!("there is no source {name:?} here; {has}"))
        })
    }
}

/// Every source of this daemon.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn list(steer: Steer, Nothing {}: Nothing) -> Result<Sources, Refusal> {
    let paused = steer.ledger.read(pause::sources).await?;
    let entries = steer.sources.running.lock().clone();
    let full = steer.ledger.takes_more().err();
    let listed = entries.into_iter().map(|(name, entry)| {
        let is_paused = entry.switch.is_paused();
        let reason = entry.watching.borrow().clone().err();
        let reason = reason.or_else(|| full.clone().filter(|_| !is_paused));
        let state = match (is_paused, &reason) {
            (true, _) => State::Paused,
            (false, None) => State::Running,
            (false, Some(_)) => State::Waiting,
        };
        let paused_since = paused.get(&name).copied().filter(|_| state == State::Paused);
        let (kind, place) = match &entry.source {
            config::Source::Directory(source) => ("directory", source.path.display().to_string()),
            config::Source::Nats(source) => ("nats", source.subject.clone()),
        };
        let route = entry.source.route().to_owned();
        Listed { name, kind: kind.to_owned(), state, route, place, reason, paused_since }
    });
    Ok(Sources { sources: listed.collect() })
}

/// Pauses a source: it takes nothing new in, also after a restart; jobs under way go on. Returns the source.
///
/// # Errors
/// [`Refusal::Unknown`].
pub async fn pause(steer: Steer, Named { name }: Named) -> Result<Listed, Refusal> {
    switch(steer, name, true).await
}

/// Ends a source's pause. Returns the source.
///
/// # Errors
/// [`Refusal::Unknown`].
pub async fn resume(steer: Steer, Named { name }: Named) -> Result<Listed, Refusal> {
    switch(steer, name, false).await
}

async fn switch(steer: Steer, name: String, is_paused: bool) -> Result<Listed, Refusal> {
    let entry = steer.sources.entry(&name)?;
    let source = name.clone();
    let write = move |connection: &_| match is_paused {
        true => pause::pause(connection, &source, Timestamp::now()),
        false => pause::resume(connection, &source),
    };
    let (ledger, switching) = (steer.ledger.clone(), Arc::clone(&steer.sources.switching));
    // A task of its own, so that it completes even if the client drops the request.
    let switched = tokio::spawn(async move {
        let _alone = switching.lock_owned().await;
        ledger.write(write).await?;
        if entry.switch.is_paused() != is_paused {
            info!(source = entry.source.name(), is_paused, "source paused or resumed by an operator");
        }
        entry.switch.pause(is_paused);
        Ok::<(), Refusal>(())
    });
    switched.await.map_err(|error| Refusal::NotNow(error.to_string()))??;
    one(steer, &name).await
}

/// Has a folder scanned at once. Returns the source.
///
/// # Errors
/// [`Refusal::Unknown`]; [`Refusal::Conflict`] for a source that is no folder, or is paused.
pub async fn rescan(steer: Steer, Named { name }: Named) -> Result<Listed, Refusal> {
    let entry = steer.sources.entry(&name)?;
    if !matches!(entry.source, config::Source::Directory(_)) {
        return Err(Refusal::Conflict(format!("the source {name:?} is no folder; there is nothing to scan")));
    }
    if entry.switch.is_paused() {
        return Err(Refusal::Conflict(format!(
            "the source {name:?} is paused; resume it, which scans it too"
        )));
    }
    entry.switch.scan();
    one(steer, &name).await
}

async fn one(steer: Steer, name: &str) -> Result<Listed, Refusal> {
    let all = list(steer, Nothing {}).await?.sources;
    let gone = || Refusal::Unknown(format!("there is no source {name:?} here"));
    all.into_iter().find(|source| source.name == name).ok_or_else(gone)
}
