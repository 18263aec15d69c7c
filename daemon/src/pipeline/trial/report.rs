//! The result of a trial.

use std::time::Instant;

use serde::Serialize;

use crate::pipeline::wire::{Answer, Description, Outcome};

/// Result of a trial.
#[derive(Debug, Default)]
pub struct Trial {
    /// What the library declares; `None` if it could not be loaded.
    pub description: Option<Description>,
    /// What was tried, in order; the trial ends at a step after which the process is of no use.
    pub steps: Vec<Step>,
}

/// How a step, or the whole trial, went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    /// The plugin works, and its author should do something.
    Warnings,
    /// The daemon would lose events of this plugin, or the plugin.
    Failed,
}

/// One step of a trial.
#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub verdict: Verdict,
    /// What came of it.
    pub message: String,
    /// What the author should do, where the message does not say it.
    pub remedy: Option<&'static str>,
    pub elapsed_ms: f64,
}

/// What a step found.
pub(super) struct Finding {
    verdict: Verdict,
    message: String,
    remedy: Option<&'static str>,
}

impl Finding {
    pub(super) fn passed(message: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Passed, message: message.into(), remedy: None }
    }

    pub(super) fn warning(message: impl Into<String>, remedy: &'static str) -> Finding {
        Finding { verdict: Verdict::Warnings, message: message.into(), remedy: Some(remedy) }
    }

    pub(super) fn failed(message: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Failed, message: message.into(), remedy: None }
    }

    pub(super) fn failed_with(message: impl Into<String>, remedy: &'static str) -> Finding {
        Finding { remedy: Some(remedy), ..Finding::failed(message) }
    }
}

impl Trial {
    /// The worst verdict of its steps.
    pub fn verdict(&self) -> Verdict {
        self.steps.iter().map(|step| step.verdict).max().unwrap_or(Verdict::Passed)
    }

    /// How many steps have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.steps.iter().filter(|step| step.verdict == verdict).count()
    }

    pub(super) fn add(&mut self, name: &'static str, began: Instant, finding: Finding) {
        let elapsed_ms = began.elapsed().as_secs_f64() * 1000.0;
        let Finding { verdict, message, remedy } = finding;
        self.steps.push(Step { name, verdict, message, remedy, elapsed_ms });
    }

    /// Adds the step of an event; false if the process is of no use after it: gone, or the plugin has failed for good.
    pub(super) fn take(
        &mut self,
        name: &'static str,
        began: Instant,
        answer: Result<Answer, String>,
        judge: impl FnOnce(Answer) -> Finding,
    ) -> bool {
        let (lives, finding) = match answer {
            Ok(answer) => (!matches!(answer.outcome, Outcome::Failed(_)), judge(answer)),
            Err(why) => (false, Finding::failed(why)),
        };
        // A failure for good is one, whatever the event was.
        let finding = if lives { finding } else { Finding { verdict: Verdict::Failed, ..finding } };
        self.add(name, began, finding);
        lives
    }
}
