//! Makes the job of a message.

use hark_sdk::event::{Fault, Recording, Warning};
use uuid::Uuid;

use super::intake::Delivery;
use super::message::{Input, bad};
use super::{Subject, spool};
use crate::config::NatsSource;
use crate::job::ledger::LedgerError;
use crate::job::{Job, Origin, Ticket};
use crate::source::Watching;
use crate::source::url::{vet_resolved, without_query};

impl Subject {
    /// The URI of a message's audio in events.
    pub(super) fn uri(&self, sequence: u64) -> String {
        format!("nats:{}/{sequence}", self.stream.name)
    }

    /// Makes the job of a message, with its audio spooled to disk; with a fault if the message cannot be used.
    pub(super) async fn job(
        &self,
        id: Uuid,
        ticket: Ticket,
        Delivery { held_message, options, input, payload, .. }: &Delivery,
        watching: &Watching,
    ) -> Result<(Job, Option<Fault>), LedgerError> {
        // One config for the whole message.
        let config = self.config();
        let mut recording = Recording {
            uri: self.uri(held_message.sequence),
            name: options.name.clone(),
            message_id: options.message_id.clone(),
            ..Recording::default()
        };
        let (mut refusal, mut object) = (None, None);
        let origin = match input {
            Input::Audio => {
                recording.sha256 =
                    Some(spool::write(&self.handles.state_directory, id, payload, watching).await?);
                recording.bytes = Some(payload.len() as u64);
                self.handles.ledger.spooled(payload.len() as u64);
                Origin::Spool { file: id.to_string() }
            }
            Input::Url(url) => {
                recording.uri = without_query(url);
                match vet_resolved(url, &self.terms().allow).await {
                    Ok(vetted) => {
                        recording.name = recording.name.or_else(|| last_segment(&vetted));
                        // The URL as parsed, not the sender's text: another parser may find another host in the text.
                        Origin::Url { url: vetted.into() }
                    }
                    Err(refused) => {
                        refusal = Some(bad("ForbiddenURL", refused.to_string()));
                        Origin::Nothing
                    }
                }
            }
            Input::Object(place) if config.allow_buckets.contains(&place.bucket) => {
                recording.name = recording.name.or_else(|| Some(place.name.clone()));
                object = Some(place.clone());
                Origin::Object
            }
            Input::Object(_) => {
                refusal = Some(forbidden_bucket(&config));
                Origin::Nothing
            }
            Input::Bad(fault) => {
                recording.bytes = Some(payload.len() as u64);
                refusal = Some(fault.clone());
                Origin::Nothing
            }
        };
        let route = match &options.route {
            None => &config.route,
            Some(asked) if *asked == config.route || config.allow_routes.contains(asked) => asked,
            Some(_) => {
                refusal.get_or_insert_with(|| forbidden_route(&config));
                &config.route
            }
        };
        let mut job = Job::new(id, &self.name, route, origin, recording, options.metadata.clone());
        (job.language, job.context) = (options.language.clone(), options.context.clone());
        (job.ticket, job.object) = (Some(ticket), object);
        Ok((job, refusal))
    }

    /// What the message said and a model of its route does not take.
    pub(super) fn warnings(&self, job: &Job) -> Vec<Warning> {
        let terms = self.terms();
        let unheeded = &terms.unheeded;
        let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        let context = unheeded.context(&job.route).filter(|_| has(&job.context)).map(|why| Warning {
            code: "ContextUnused".into(),
            message: format!("{why}; the message's context has no effect with it"),
        });
        let language = unheeded.language(&job.route).filter(|_| has(&job.language)).map(|why| Warning {
            code: "LanguageUnused".into(),
            message: format!("{why}; the message's language has no effect with it"),
        });
        context.into_iter().chain(language).collect()
    }
}

fn forbidden_route(config: &NatsSource) -> Fault {
    let NatsSource { name, route: own, .. } = config;
    let may: Vec<&str> = std::iter::once(own).chain(&config.allow_routes).map(String::as_str).collect();
    bad(
        "ForbiddenRoute",
        format!(
            "messages of source {name:?} may choose only {}; leave \"route\" out, or let the operator add the route to allow_routes",
            may.join(", ")
        ),
    )
}

fn forbidden_bucket(config: &NatsSource) -> Fault {
    let NatsSource { name, allow_buckets: buckets, .. } = config;
    let may = match buckets.is_empty() {
        true => "no bucket".to_owned(),
        false => format!("only {}", buckets.join(", ")),
    };
    bad(
        "ForbiddenBucket",
        format!(
            "messages of source {name:?} may refer to {may}; send the audio itself, or let the operator add the bucket to allow_buckets"
        ),
    )
}

fn last_segment(url: &url::Url) -> Option<String> {
    url.path_segments()?.next_back().filter(|name| !name.is_empty()).map(str::to_owned)
}
