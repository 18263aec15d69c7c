//! The hints of a request: what the daemon tells the recognizer besides the audio, and what the hints mean for the answer.

use hark_sdk::event::Fault;

use super::Tools;
use crate::config::{Hotword, Route, Template};
use crate::job::{Job, Plan, Transcript};
use crate::recognize::{Echo, Hints};

/// What the message and the route say: the message's own language and context, else the route's.
fn hints_of(job: &Job, route: &Route) -> Hints {
    let language = job.language.as_deref().unwrap_or(&route.language);
    let hotwords =
        route.hotwords.iter().map(|hotword| Hotword { word: filled(&hotword.word, job), ..hotword.clone() });
    Hints {
        language: Some(language.to_owned()).filter(|language| !language.is_empty()),
        context: job.context.clone().unwrap_or_else(|| filled(&route.context, job)),
        hotwords: hotwords.filter(|hotword| !hotword.word.trim().is_empty()).collect(),
    }
}

/// A text of the route with the job's metadata in it. `check` refuses a text that cannot be parsed; a `context_file` may have changed since.
fn filled(text: &str, job: &Job) -> String {
    Template::parse(text).map_or_else(|_| text.to_owned(), |template| template.fill(&job.metadata))
}

impl Tools {
    /// The hints for a recording as its recognizer takes them.
    ///
    /// # Errors
    /// See [`Hints::fit`].
    pub(super) fn hints(&self, job: &Job, route: &Route, plan: &Plan) -> Result<Hints, Fault> {
        let hints = hints_of(job, route);
        match self.settings.recognizers.get(&plan.engine) {
            Some(recognizer) => hints.fit(&recognizer.profile().limits.inputs, &plan.model),
            None => Ok(hints),
        }
    }

    /// The transcript as it is published: with times of words only if the route asks for them, with the language that was asked for where
    /// the recognizer tells none, and marked where it may only repeat the context.
    pub(super) fn finished(&self, job: &Job, mut transcript: Transcript) -> Transcript {
        // A route or a plan that is gone leaves the transcript as it was recognized.
        let (Ok(route), Some(plan)) = (self.route(job), &job.plan) else { return transcript };
        let hints = self.hints(job, route, plan).unwrap_or_default();
        for segment in &mut transcript.segments {
            segment.words = segment.words.take().filter(|_| route.words);
            segment.language = segment.language.take().or_else(|| hints.language.clone());
        }
        Echo::of(&hints.words()).mark(&mut transcript);
        transcript
    }
}
