//! What remains of a forgotten job outside the reach of the daemon, so that the operator can remove it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::steer::{Refusal, Steer};
use crate::config::Source;
use crate::job::{Job, Origin, Piece};
use crate::source::directory::find_recording;

const BACKUP: &str = "backups, logs, and what other consumers of the events have stored";

/// Something that may still have data of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct NotReached {
    /// `audio`, `file`, `message`, `object`, `recognizer`, `webhook`, `plugin`, `ledger` or `backup`.
    pub what: String,
    /// Where, and why.
    pub detail: String,
}

impl NotReached {
    pub fn new(what: &str, detail: impl Into<String>) -> NotReached {
        NotReached { what: what.to_owned(), detail: detail.into() }
    }
}

/// What is out of reach of a job that the ledger has.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) async fn unreached(steer: &Steer, job: &Job) -> Result<Vec<NotReached>, Refusal> {
    let mut found = Vec::new();
    let mut add = |what: &str, detail: String| found.push(NotReached::new(what, detail));
    match &job.origin {
        Origin::File { .. } => {
            let config = steer.sources.source(&job.source);
            let folder = config.as_ref().and_then(Source::folder);
            if let Some(Origin::File { root, below, .. }) = find_recording(folder, job).await {
                let path = root.join(below);
                add("audio", format!("{}: the recording still lies there", path.display()));
                if job.sidecar.is_some() {
                    let sidecar = path.with_extension("json");
                    add("file", format!("{}: metadata that came with the recording", sidecar.display()));
                }
            }
        }
        Origin::Url { .. } => add("audio", format!("{}: the recording at its URL", job.recording.uri)),
        Origin::Spool { .. } | Origin::Object | Origin::Nothing => {}
    }
    let pieces = steer.ledger.find_whole(job.id).await?.map(|(_, pieces)| pieces).unwrap_or_default();
    for (recognizer, tasks) in asked(&pieces) {
        let tasks = if tasks.is_empty() { String::new() } else { format!(" (tasks {})", tasks.join(", ")) };
        add("recognizer", format!("what {recognizer} keeps of what it was sent{tasks}"));
    }
    for webhook in steer.webhooks.list() {
        if webhook.sources.is_empty() || webhook.sources.contains(&job.source) {
            add("webhook", format!("{}: what {} was sent", webhook.name, webhook.receiver));
        }
    }
    if steer.pipeline.of(job.id).has_plugins_for(&job.source) {
        add("plugin", "what plugins keep in their own folders, or have sent elsewhere".into());
    }
    add("backup", BACKUP.into());
    Ok(found)
}

/// What may be out of reach of a job that this daemon has heard nothing of.
pub(super) fn elsewhere(steer: &Steer) -> Vec<NotReached> {
    let webhooks = steer.webhooks.list().into_iter();
    let webhooks = webhooks.map(|webhook| {
        NotReached::new("webhook", format!("{}: what {} was sent", webhook.name, webhook.receiver))
    });
    let ledger = NotReached::new(
        "ledger",
        "no running daemon has this job; the daemon that heard it still has its rows, unless state.keep is over: run it again when that \
         daemon is back",
    );
    let recognizer = NotReached::new("recognizer", "what the recognizer keeps of what it was sent");
    [ledger, recognizer].into_iter().chain(webhooks).chain([NotReached::new("backup", BACKUP)]).collect()
}

/// The recognizers that may have the recording, with the tasks at them.
fn asked(pieces: &[Piece]) -> BTreeMap<&str, Vec<&str>> {
    let mut asked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for piece in pieces {
        for attempt in piece.attempts.iter().filter(|attempt| attempt.fate.may_have_cost()) {
            asked.entry(&piece.recognizer).or_default().extend(attempt.handle.as_deref());
        }
    }
    asked
}
