//! The streams: whether they are there, take what they have to take, and have room.

use std::time::Duration;

use async_nats::jetstream::account::Account;
use async_nats::jetstream::stream::{Config as Settings, DiscardPolicy, State, StorageType};

use super::finding::{Finding, Level};
use crate::broker::event_streams::{events_config, keeps_events};
use crate::broker::stream::{OVERLAP, StreamError, captures, find, stream_of};
use crate::broker::{JetStream, Subjects};
use crate::config::{Config, NatsSource, Source, show_duration, show_size};
use crate::counted::counted;

/// Nine tenths of a limit.
const NEARLY: u64 = 9;
/// A daemon that is away for so long finds its messages still there.
const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn examine(config: &Config, jetstream: &JetStream) -> Vec<Finding> {
    let mut findings = vec![events(config, jetstream).await];
    for intake in config.source.iter().filter_map(Source::intake) {
        findings.push(of_intake(config, intake, jetstream).await);
    }
    findings
}

async fn events(config: &Config, jetstream: &JetStream) -> Finding {
    let (name, subjects) = (&config.nats.events_stream, Subjects::new(&config.nats.subject_prefix));
    let check = format!("stream {name}");
    let wanted = events_config(&config.nats, &subjects);
    let stream = match find(jetstream, name).await {
        Ok(Some(stream)) => stream,
        Ok(None) => return absent(check, &wanted, jetstream).await,
        Err(error) => return refused(check, &error),
    };
    let (found, state) = (&stream.cached_info().config, &stream.cached_info().state);
    if let Err(error) = keeps_events(found, &subjects) {
        return refused(check, &error);
    }
    if let Some(finding) = nearly_full(&check, found, state) {
        return finding;
    }
    let most = counted(found.max_messages, "message");
    let limit = found.max_messages > 0;
    let limit = limit.then(|| (format!("keeps at most {most}"), edit(found, "--max-msgs=-1")));
    let cut = "events that are larger are cut";
    if let Some((message, remedy)) = risk(found).or(limit).or_else(|| small(found, jetstream, cut)) {
        return Finding::warning(check, message, remedy);
    }
    let age = if found.max_age.is_zero() {
        "for ever".to_owned()
    } else {
        format!("for {}", show_duration(found.max_age))
    };
    let size = u64::try_from(found.max_bytes).map_or("any number of bytes".to_owned(), show_size);
    let kept = format!("keeps events {age}, at most {size}; {} now", counted(state.messages, "message"));
    let is_shorter = !found.max_age.is_zero() && found.max_age < wanted.max_age;
    let is_smaller = found.max_bytes >= 0 && found.max_bytes < wanted.max_bytes;
    if is_shorter || is_smaller {
        let (age, size) = (show_duration(wanted.max_age), show_size(config.nats.events_max_bytes));
        let message = format!("{kept}; [nats] says {age} and {size}, and harkd alters no stream that exists");
        return Finding::warning(
            check,
            message,
            format!(
                "nats stream edit {name} --max-age={age} --max-bytes={}, or set the keys to what is meant",
                wanted.max_bytes
            ),
        );
    }
    if found.num_replicas < config.nats.replicas {
        let message = format!(
            "{kept}; it has {} of nats.replicas = {}",
            counted(found.num_replicas, "replica"),
            config.nats.replicas
        );
        return Finding::warning(
            check,
            message,
            format!("nats stream edit {name} --replicas={}", config.nats.replicas),
        );
    }
    Finding::ok(check, kept)
}

/// A setting of a stream that exists with which it may lose what it has; and what to do.
fn risk(found: &Settings) -> Option<(String, String)> {
    if found.storage == StorageType::Memory {
        let message = "is kept in memory, and gone when the nats-server restarts";
        return Some((message.into(), "make it with file storage".into()));
    }
    found.no_ack.then(|| {
        let message = "has no_ack = true, so no sender learns whether its message is stored";
        (message.into(), edit(found, "--ack"))
    })
}

/// A stream that takes smaller messages than its server.
fn small(found: &Settings, jetstream: &JetStream, so: &str) -> Option<(String, String)> {
    let most = usize::try_from(found.max_message_size).ok().filter(|most| *most > 0)?;
    (most < jetstream.client().server_info().max_payload).then(|| {
        let message = format!("takes messages of at most {}; {so}", show_size(most as u64));
        (message, edit(found, "--max-msg-size=-1"))
    })
}

fn edit(found: &Settings, flag: &str) -> String {
    format!("nats stream edit {} {flag}", found.name)
}

/// A stream that is absent, and that the server would not create: another one has its subjects.
async fn taken(check: &str, subjects: &[String], jetstream: &JetStream) -> Option<Finding> {
    let (subject, name) = stream_of(jetstream, subjects).await?;
    let message = format!("is not there, and cannot be made: the stream {name} captures {subject}");
    Some(Finding::error(check, message, OVERLAP))
}

/// Whether there is room for the stream that the daemon will create.
async fn absent(check: String, wanted: &Settings, jetstream: &JetStream) -> Finding {
    if let Some(finding) = taken(&check, &wanted.subjects, jetstream).await {
        return finding;
    }
    let account = jetstream.query_account().await.ok();
    let limit = |account: &Account| account.limits.max_storage.filter(|limit| *limit >= 0);
    let left = account.and_then(|account| Some(limit(&account)?.saturating_sub_unsigned(account.storage)));
    match left.filter(|left| *left < wanted.max_bytes) {
        Some(left) => {
            let (has, wants) = (
                show_size(u64::try_from(left).unwrap_or(0)),
                show_size(u64::try_from(wanted.max_bytes).unwrap_or(0)),
            );
            let message =
                format!("is not there yet; it would reserve {wants}, and JetStream has only {has} left");
            Finding::warning(check, message, "give JetStream more room, or lower nats.events_max_bytes")
        }
        None => Finding::ok(check, "is not there yet; harkd makes it"),
    }
}

/// A stream that refuses new messages when it is full: then events wait in the daemon's outbox.
fn nearly_full(check: &str, found: &Settings, state: &State) -> Option<Finding> {
    let limit = u64::try_from(found.max_bytes).ok().filter(|_| found.discard == DiscardPolicy::New)?;
    (state.bytes >= limit / 10 * NEARLY).then(|| {
        let message = format!(
            "is nearly full ({} of {}), and refuses new messages when it is full (discard = new)",
            show_size(state.bytes),
            show_size(limit)
        );
        Finding::error(check, message, "raise its max_bytes, or let it discard old messages")
    })
}

async fn of_intake(config: &Config, intake: &NatsSource, jetstream: &JetStream) -> Finding {
    let check = format!("source {}", intake.name);
    let own = intake.stream.is_empty() || intake.stream == config.nats.audio_stream;
    let name = if own { &config.nats.audio_stream } else { &intake.stream };
    match find(jetstream, name).await {
        Ok(Some(stream)) => {
            let info = stream.cached_info();
            match captures(&info.config, &intake.subject) {
                Ok(()) => of_capturing(check, intake, &info.config, &info.state, jetstream),
                Err(error) => refused(check, &error),
            }
        }
        Ok(None) if own => {
            let audio = Subjects::new(&config.nats.subject_prefix).audio();
            let made = || Finding::ok(&check, format!("{name} is not there yet; harkd makes it"));
            let taken = taken(&check, &[audio], jetstream).await;
            let named =
                |finding: Finding| Finding { message: format!("{name} {}", finding.message), ..finding };
            taken.map_or_else(made, named)
        }
        Ok(None) => Finding::error(
            check,
            format!("there is no stream {name}"),
            "make it, or leave `stream` of the source empty",
        ),
        Err(error) => refused(check, &error),
    }
}

/// A stream that takes the messages of a source.
fn of_capturing(
    check: String,
    intake: &NatsSource,
    found: &Settings,
    state: &State,
    jetstream: &JetStream,
) -> Finding {
    let short = (!found.max_age.is_zero() && found.max_age < DAY).then(|| {
        let age = show_duration(found.max_age);
        (format!("removes a message after {age}, heard or not"), edit(found, "--max-age=0"))
    });
    let refused = "larger ones are refused to their senders";
    let name = &found.name;
    match risk(found).or(short).or_else(|| small(found, jetstream, refused)) {
        Some((message, remedy)) => Finding::warning(check, format!("{name} {message}"), remedy),
        None => {
            let waiting = counted(state.messages, "message");
            Finding::ok(check, format!("{name} captures {}; {waiting} in it", intake.subject))
        }
    }
}

fn refused(check: String, error: &StreamError) -> Finding {
    Finding::of_sentence(check, Level::Error, &error.to_string(), "see docs/nats.md")
}
