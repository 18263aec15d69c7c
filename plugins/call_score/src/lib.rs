//! A score sheet for calls: what was said, and what was measured of the speech, against limits. docs/plugins/call_score.md is the manual.
#![warn(missing_docs)]

mod check_result;
mod config;
mod said;
mod speech;

use hark_sdk::event::{Body, Event};
use hark_sdk::schemars::Schema;
use hark_sdk::{Error, Host, Plugin, Transcript, Wants, schema};
use serde_json::Value;

pub use config::{AtMost, Check, Config};

use check_result::CheckResult;
use config::Look;
use said::Said;
use speech::{Measured, Speech};

/// The plugin: the sheet, and what was measured of calls whose final has not come yet.
pub struct CallScore {
    config: Config,
    said: Said,
    measured: Measured,
}

impl Plugin for CallScore {
    const WANTS: Wants = Wants::FINALS.and(Wants::ANNOTATIONS);

    fn schema() -> Schema {
        schema::of_config::<Config>()
    }

    fn create(config: &str) -> Result<Self, Error> {
        let config = Config::parse(config)?;
        Ok(CallScore { said: Said::new(&config)?, config, measured: Measured::default() })
    }

    fn warnings(&self) -> Vec<String> {
        self.config.warnings().chain(self.said.warnings()).collect()
    }

    fn on_event(&mut self, event: &Event, host: &Host) -> Result<(), Error> {
        match &event.body {
            Body::AnnotationSpeech(speech) => self.measured.keep(event.job, Speech::of(speech)),
            Body::TranscriptFinal(fields) => {
                let speech = self.measured.take(event.job);
                host.emit(&self.sheet(&Transcript { event, fields }, speech.as_ref()))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl CallScore {
    /// The score sheet of a call.
    fn sheet(&self, transcript: &Transcript, speech: Option<&Speech>) -> Value {
        let found = self.said.find(transcript.fields, transcript.event.recording.duration_ms);
        let measured = |judge: &dyn Fn(&Speech) -> CheckResult| match speech {
            Some(speech) => judge(speech),
            None => CheckResult::not_measured(
                "there is no annotation.speech, for the daemon did not listen to the whole recording",
            ),
        };
        let verdict = |(index, look): (usize, Look<'_>)| match look {
            Look::Rule(rule) => found.rule(index, rule),
            Look::LongestSilence(most) => measured(&|speech| speech.longest_silence(most.ms)),
            Look::TalkRatio(limit) => measured(&|speech| speech.talk_ratio(limit)),
            Look::Interruptions(limit) => measured(&|speech| speech.interruptions(limit)),
            Look::WordsPerMinute(limit) => measured(&|speech| match found.words(&limit.role) {
                Ok(words) => speech.words_per_minute(limit, words),
                Err(why) => CheckResult::not_measured(why),
            }),
        };
        let looks = self
            .config
            .checks
            .iter()
            .enumerate()
            .flat_map(|(index, check)| check.looks().into_iter().map(move |look| (index, look)));
        let verdicts: Vec<CheckResult> = looks.map(verdict).collect();
        check_result::sheet(&self.config, &verdicts)
    }
}

hark_sdk::export!(CallScore);
