//! harkd's events: for the person at the terminal, and for the demo itself, which continues when a job has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use super::stage::Stage;
use crate::child::{Child, Output};
use crate::interrupt::Interrupt;

/// To connect to a server on this machine.
const TIME_TO_FOLLOW: Duration = Duration::from_secs(20);

/// Two `harkd tail`: one writes to the terminal, the demo reads the output of the other.
pub(crate) struct Watch {
    shown: Child,
    read: Child,
    lines: Receiver<String>,
    ceiling: Duration,
    counts: BTreeMap<String, usize>,
    ended: BTreeSet<String>,
    failures: Vec<String>,
    /// Texts of the finals, by the name of the recording.
    texts: BTreeMap<String, String>,
}

impl Watch {
    /// When it returns, both follow.
    pub(crate) fn start(stage: &Stage, interrupt: &Interrupt) -> anyhow::Result<Watch> {
        let (sender, lines) = channel();
        let shown = Child::start("harkd tail", stage.command(&["tail", "--all"]), Output::Terminal)?;
        let read = Child::start(
            "harkd tail --json",
            stage.command(&["tail", "--all", "--json"]),
            Output::Lines(sender),
        )?;
        let mut watch = Watch {
            shown,
            read,
            lines,
            ceiling: stage.time_for_a_recording(),
            counts: BTreeMap::new(),
            ended: BTreeSet::new(),
            failures: Vec::new(),
            texts: BTreeMap::new(),
        };
        let both_follow = interrupt.wait_for(TIME_TO_FOLLOW, || {
            watch.all_run()?;
            let follows = |child: &Child| child.lines().iter().any(|line| line.starts_with("following"));
            Ok((follows(&watch.shown) && follows(&watch.read)).then_some(()))
        })?;
        if both_follow.is_none() {
            bail!("harkd tail does not follow; its last words:\n{}", watch.shown.last_words());
        }
        Ok(watch)
    }

    /// # Errors
    /// When one of the two has ended, with its last output.
    pub(crate) fn all_run(&mut self) -> anyhow::Result<()> {
        self.shown.runs()?;
        self.read.runs()
    }

    /// Waits for the last event of a recording's job.
    ///
    /// # Errors
    /// When a process ends, or no event arrives in time.
    pub(crate) fn until_ended(
        &mut self,
        name: &str,
        stage: &mut Stage,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        let ended = interrupt.wait_for(self.ceiling, || {
            stage.all_run()?;
            self.all_run()?;
            self.take_in();
            Ok(self.ended.contains(name).then_some(()))
        })?;
        if ended.is_none() {
            bail!(
                "the job of {name} did not end within {:?}; harkd's last words:\n{}",
                self.ceiling,
                stage.last_words_of_harkd()
            );
        }
        Ok(())
    }

    /// One line: the transcript.
    pub(crate) fn summary(&self) -> String {
        let count = |kind: &str| self.counts.get(kind).copied().unwrap_or(0);
        format!(
            "{} recordings: {} completed, {} failed; {} partials, {} finals, {} annotations, {} alerts",
            self.ended.len(),
            count("hark.job.completed"),
            count("hark.job.failed"),
            count("hark.transcript.partial"),
            count("hark.transcript.final"),
            count("hark.annotation.language") + count("hark.annotation.emotion"),
            count("hark.alert.raised"),
        )
    }

    /// What was heard in this recording.
    pub(crate) fn text_of(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    /// The jobs that failed, if any did.
    pub(crate) fn failure(&self) -> Option<String> {
        (!self.failures.is_empty()).then(|| self.failures.join("; "))
    }

    fn take_in(&mut self) {
        for line in self.lines.try_iter() {
            // Any other output of the child is not an event.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            let name = event["recording"]["name"].as_str().unwrap_or_default().to_owned();
            if kind == "hark.job.failed" {
                let code = event["error"]["code"].as_str().unwrap_or("no code");
                let message = event["error"]["message"].as_str().unwrap_or_default();
                self.failures.push(format!("{name} failed: {code}: {message}"));
            }
            if kind == "hark.transcript.final" {
                self.texts.insert(name.clone(), event["text"].as_str().unwrap_or_default().to_owned());
            }
            if matches!(kind.as_str(), "hark.job.failed" | "hark.job.completed") {
                self.ended.insert(name);
            }
            *self.counts.entry(kind).or_default() += 1;
        }
    }
}
