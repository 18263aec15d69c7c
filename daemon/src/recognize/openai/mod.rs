//! Speech servers of the operator's own that speak OpenAI's HTTP: `[[recognizer]] kind = "openai"`. Two shapes of request and three dialects
//! of answers cover vLLM, speaches, LocalAI, whisper.cpp and their kin; docs/own-server.md shows what each can tell.
//!
//! The audio goes to the address of the config and nowhere else: no proxy, no redirect, no other engine. While the server cannot be
//! reached, loads its model, or lacks it, the queue is held and one request at a time probes it; no job fails for that.

mod dialects;
mod examine;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod incoming;
mod language;
mod prefix;
mod refusal;
mod request;
mod segments;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hark_sdk::event::{Blame, Engine, Usage};
use reqwest::header::SERVER;

pub(super) use self::examine::examine;
use self::form::{Form, Forms, Wishes};
use self::incoming::Incoming;
use self::refusal::Refusal;
use super::error::{Error, When};
use super::http::{Content, Http, Key, Timeouts};
use super::limits::{Delivers, Limits, Pieces};
use super::pacer::{Pacer, Permit, Rate};
use super::{Audio, Listener, Profile, Recognizer, Request, Sent};
use crate::config::{self, ContextLimit, Inputs, Languages, Outputs, PieceFormat};
use crate::job::{Fate, Transcript, fault};
use crate::telemetry::metrics::Metrics;

/// vLLM refuses larger files unless told otherwise, as do hosted servers.
const LARGEST_FILE: u64 = 25 << 20;

/// A speech server.
#[derive(Debug)]
pub(super) struct Server {
    config: config::Recognizer,
    profile: Profile,
    /// Without a slash at its end.
    base: String,
    http: Http,
    key: Option<Arc<Key>>,
    pacer: Arc<Pacer>,
    forms: Forms,
}

/// Why a request brought no transcript.
enum Failed {
    /// The server's refusal, under whatever status.
    Refused(Refusal),
    /// Any other error.
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Other(error)
    }
}

/// The recognizer of a `[[recognizer]]`.
///
/// # Errors
/// The key cannot be read, or there are no root certificates.
pub(super) fn build(config: &config::Recognizer, metrics: &Metrics) -> Result<Server, String> {
    let key = config.api_key()?.map(|key| Arc::new(Key::new(key, Some(config.api_key_file.clone()))));
    // The whole request has one time limit; nothing within it is given up earlier.
    let timeouts = Timeouts { idle: config.timeout, silence: config.timeout };
    let is_plain = config.base_url.starts_with("http:");
    Ok(Server {
        profile: profile(config),
        base: config.base_url.trim_end_matches('/').to_owned(),
        http: Http::new(is_plain, false, timeouts).map_err(|error| error.to_string())?,
        pacer: Pacer::new(&config.name, Rate::new(Duration::ZERO), key.clone(), metrics.clone()),
        key,
        forms: Forms::default(),
        config: config.clone(),
    })
}

/// The profile of a `[[recognizer]]`.
pub(super) fn profile(config: &config::Recognizer) -> Profile {
    Profile {
        engine: Engine::new(&config.name),
        model: config.model.clone(),
        limits: limits(config),
        unavailable: None,
        only_by_name: true,
        concurrency: config.concurrency,
    }
}

/// Recordings that are sent as they are. Every other one is decoded, cut and sent in the format of the config.
fn limits(config: &config::Recognizer) -> Limits {
    Limits {
        formats: match config.format {
            PieceFormat::Flac => &["wav", "flac"],
            PieceFormat::Wav => &["wav"],
        },
        longest: Some(config.piece),
        inline: Delivers::UpTo(LARGEST_FILE),
        upload: Delivers::No,
        url: Delivers::No,
        streams: true,
        selects_channels: false,
        inputs: Inputs {
            languages: Languages::OfTheServer,
            context: ContextLimit::Unknown,
            hotwords: false,
            itn: false,
        },
        outputs: Outputs { annotations: false, words: !config.is_chat(), speakers: false },
        pieces: Some(Pieces { longest: Some(config.piece), format: config.format }),
        tasks: None,
    }
}

impl Recognizer for Server {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn pacer(&self) -> &Arc<Pacer> {
        &self.pacer
    }

    fn send<'a>(
        &'a self,
        permit: Permit,
        request: Request<'a>,
        listener: &'a mut dyn Listener,
    ) -> BoxFuture<'a, Result<Sent, Error>> {
        Box::pin(async move {
            let limit = self.config.timeout;
            let outcome = match tokio::time::timeout(limit, self.recognize(&request, listener)).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let message = format!("no whole answer came within the timeout of {} s", limit.as_secs());
                    Err(Error::open("TimeOut", &message))
                }
            };
            let outcome = outcome.map_err(|error| self.held_if_away(error));
            permit.settle(outcome).map(Sent::Heard)
        })
    }
}

impl Server {
    /// Asks for the most that the server is known to support. A server that refuses the form of a request, for free, is asked in a simpler
    /// one.
    async fn recognize(
        &self,
        request: &Request<'_>,
        listener: &mut dyn Listener,
    ) -> Result<Transcript, Error> {
        let Audio::Inline { content, format } = &request.audio else {
            let message = format!("{} takes bytes only, and was given a URL", self.config.name);
            return Err(Error::give_up(fault("UploadNotAllowed", Blame::Hark, message)));
        };
        let wishes = Wishes {
            partials: request.partials,
            words: request.words,
            has_language: request.hints.language.is_some(),
        };
        let wanted = self.forms.wanted(self.config.is_chat(), wishes);
        let mut form = wanted;
        loop {
            let failed = match self.ask(form, request, content, format, listener).await {
                Ok((_, true)) if request.hints.language.is_none() && !form.auto_language => {
                    self.forms.needs_auto_language();
                    form.auto_language = true;
                    continue;
                }
                Ok((transcript, _)) => {
                    self.forms.worked(wanted, form);
                    return Ok(transcript);
                }
                Err(failed) => failed,
            };
            match failed {
                Failed::Refused(refusal) if refusal.means_silence() => return Ok(Transcript::default()),
                Failed::Refused(refusal) => match self.forms.simpler(form, &refusal) {
                    Some(simpler) => form = simpler,
                    None => return Err(self.refused(refusal)),
                },
                Failed::Other(error) => return Err(error),
            }
        }
    }

    /// Asks once. Returns also whether the server hears English unless the request says `language=auto`, as whisper.cpp does.
    async fn ask(
        &self,
        form: Form,
        request: &Request<'_>,
        content: &Content,
        format: &str,
        listener: &mut dyn Listener,
    ) -> Result<(Transcript, bool), Failed> {
        let mut response = match self.config.is_chat() {
            true => self.send_chat(form, request, content.clone(), format).await?,
            false => self.send_transcription(form, request, content.clone(), format).await?,
        };
        if !response.status().is_success() {
            return Err(Failed::Refused(Refusal::read(&self.http, &mut response).await));
        }
        let server = response.headers().get(SERVER);
        let hears_english = server.is_some_and(|server| server.as_bytes().starts_with(b"whisper.cpp"));
        let mut incoming = Incoming::default();
        let read = incoming.read(&self.http, &mut response, listener).await;
        match read {
            Ok(()) => {
                let transcript =
                    incoming.into_transcript(request.duration_ms, request.hints.language.as_deref());
                let seconds = request.duration_ms.unwrap_or(0).div_ceil(1000);
                let billed = Usage::seconds(if self.is_free() { 0 } else { seconds });
                Ok((Transcript { billed, ..transcript }, hears_english))
            }
            Err(Failed::Refused(refusal)) if !incoming.has_text() => Err(Failed::Refused(refusal)),
            Err(failed) => {
                let error = match failed {
                    Failed::Refused(refusal) => self.refused(refusal),
                    Failed::Other(error) => error,
                };
                let error = if incoming.has_text() { error.after_work(Usage::default()) } else { error };
                // What was paid for may contain the text.
                Err(if self.is_free() { error } else { error.with_raw(incoming.into_raw()) }.into())
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        let error = refusal.into_error(&self.config);
        match &self.key {
            Some(key) => key.masked(error),
            None => error,
        }
    }

    /// A server that cannot be reached holds the queue: it is one machine, which the operator may have switched off.
    fn held_if_away(&self, error: Error) -> Error {
        match (error.fate, &error.when) {
            (Fate::NotSent, When::Reachable) => Error { when: When::HELD, ..error },
            _ => error,
        }
    }

    fn is_free(&self) -> bool {
        self.config.usd_per_second == 0.0
    }
}
