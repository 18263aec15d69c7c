//! `harkd submit`: audio, or an address of audio, onto a NATS source.

mod message;
mod outcome;

use std::ffi::OsString;
use std::path::Path;

use async_nats::jetstream;

use self::message::{Message, Meta, Payload};
use self::outcome::{Receipt, Watch};
use super::follow::{Follower, Since};
use super::{Exit, print, session};
use crate::broker::JetStream;
use crate::config::{Config, NatsSource, Source};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Audio files, - for standard input, or http(s) addresses that the service fetches. Files over the server's max_payload go
    /// through the object bucket HARK_UPLOADS
    #[arg(required = true, value_name = "FILE|URL")]
    audio: Vec<OsString>,
    /// The NATS source of the config that takes it; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Metadata that comes back with every event, e.g. agent_id=7 (may be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<Meta>,
    /// Follow each job to its end, say why it waits, and print the transcript; ends with 1 if one failed
    #[arg(long)]
    wait: bool,
    /// One line of JSON per recording
    #[arg(long)]
    json: bool,
}

/// Publishes all recordings; if one of the files cannot be sent, it publishes none.
pub fn execute(config: &Path, args: &Args) -> Result<(), Exit> {
    let config = Config::load(config)?;
    let source = choose_source(&config, args.source.as_deref())?;
    let messages: Vec<Message> =
        args.audio.iter().map(|audio| Message::of(audio, &args.meta)).collect::<Result<_, _>>()?;
    session::block_on(submit(&config, source, messages, args))
}

async fn submit(
    config: &Config,
    source: &NatsSource,
    messages: Vec<Message>,
    args: &Args,
) -> Result<(), Exit> {
    let connection = session::open(config).await?;
    let max_payload = connection.client().server_info().max_payload;
    for message in messages.iter().filter(|message| !message.fits(max_payload)) {
        message.may_be_uploaded(source, max_payload)?;
    }
    // Before the first message goes out, so that no event of its job is missed.
    let mut watch = match args.wait {
        true => Some(Watch::new(Follower::open(&connection, &config.nats, Since::Now).await?, args.json)),
        false => None,
    };
    let mut receipts = Vec::new();
    for message in messages {
        let message = match message.fits(max_payload) {
            true => message,
            false => message.uploaded(&connection, &config.nats).await?,
        };
        let receipt = publish(&connection, source, message).await?;
        if watch.is_none() && !print(|out| receipt.print(out, args.json))? {
            return Ok(());
        }
        receipts.push(receipt);
    }
    match &mut watch {
        Some(watch) => watch.until_ended(receipts).await,
        None => Ok(()),
    }
}

/// Returns when the stream has stored the message.
async fn publish(jetstream: &JetStream, source: &NatsSource, message: Message) -> Result<Receipt, Exit> {
    use jetstream::context::PublishErrorKind as Kind;
    let subject = a_subject_of(&source.subject);
    let Message { name, id, headers, payload } = message;
    let Payload::Bytes(payload) = payload else {
        return Err(Exit::Usage(format!("{name} is too large for a message")));
    };
    let refused = |error: jetstream::context::PublishError| {
        Exit::Unavailable(match error.kind() {
            Kind::StreamNotFound => format!(
                "no stream captures {subject}; start harkd, which creates it, or create the stream of source {:?}",
                source.name
            ),
            Kind::TimedOut => {
                format!("{name}: JetStream did not answer; it may have been stored all the same")
            }
            _ => format!("{name}: JetStream refused it: {error}"),
        })
    };
    let named = format!("\"{subject}\"");
    let publish = async { jetstream.publish_with_headers(subject.clone(), headers, payload).await?.await };
    let acknowledgement = jetstream
        .unless_refused(&[&named], publish)
        .await
        .map_err(|refused| Exit::Unavailable(refused.to_string()))?
        .map_err(refused)?;
    Ok(Receipt { name, id, stream: acknowledgement.stream, sequence: acknowledgement.sequence })
}

fn choose_source<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a NatsSource, Exit> {
    let sources: Vec<&NatsSource> = config.source.iter().filter_map(Source::intake).collect();
    let names = || sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, sources.as_slice()) {
        (_, []) => Err(Exit::Usage("the config has no source of kind \"nats\" to submit to".into())),
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Exit::Usage(format!("several sources take messages; choose with --source: {}", names())))
        }
        (Some(name), _) => sources.iter().find(|source| source.name == name).copied().ok_or_else(|| {
            Exit::Usage(format!("no source of kind \"nats\" is named {name:?}; there is: {}", names()))
        }),
    }
}

/// A subject to publish on: where the source's subject has a wildcard, any token will do.
fn a_subject_of(filter: &str) -> String {
    filter
        .split('.')
        .map(|token| if matches!(token, "*" | ">") { "submit" } else { token })
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nats_source(name: &str) -> Source {
        Source::Nats(NatsSource {
            name: name.into(),
            subject: "hark.audio.inbox".into(),
            ..NatsSource::default()
        })
    }

    #[test]
    fn the_only_nats_source_needs_no_name() {
        let config = Config { source: vec![nats_source("inbox")], ..Config::default() };
        assert_eq!(choose_source(&config, None).unwrap().name, "inbox");
        let error = choose_source(&config, Some("inbux")).unwrap_err().to_string();
        assert!(error.contains("inbux") && error.contains("inbox"), "{error}");
    }

    #[test]
    fn of_several_sources_one_is_chosen_by_name() {
        let config = Config { source: vec![nats_source("a"), nats_source("b")], ..Config::default() };
        assert_eq!(
            choose_source(&config, None).unwrap_err().to_string(),
            "several sources take messages; choose with --source: a, b"
        );
        assert_eq!(choose_source(&config, Some("b")).unwrap().name, "b");
        assert!(choose_source(&Config::default(), None).is_err());
    }

    #[test]
    fn a_wildcard_gets_a_word() {
        assert_eq!(a_subject_of("hark.audio.inbox"), "hark.audio.inbox");
        assert_eq!(a_subject_of("hark.audio.*.>"), "hark.audio.submit.submit");
    }
}
