//! The streams of events, as the config defines them.

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RetentionPolicy, StorageType, Stream, SubjectTransform,
};

use super::subject::Subjects;
use crate::broker::JetStream;
use crate::broker::stream::{StreamError, captures, covers, ensure};
use crate::config::Nats;
use crate::counted::counted;

/// The stream of partials.
pub const PARTIALS: &str = "HARK_PARTIALS";

/// Checks the server and creates the streams that are absent: the stream of events, and the stream of partials if it is configured.
///
/// # Errors
/// A server that is too old, a stream that is absent and cannot be created, one that does not keep every event, or one that captures other
/// subjects than the events' own. Without some events a job would never end, and with partials in the stream no event could name its
/// predecessor.
pub async fn ensure_event_streams(
    jetstream: &JetStream,
    nats: &Nats,
    subjects: &Subjects,
) -> Result<Stream, StreamError> {
    jetstream.check_server()?;
    let events = events_config(nats, subjects);
    let stream = ensure(jetstream, events.clone()).await?;
    keeps_events(&stream.cached_info().config, subjects)?;
    if nats.store_partials {
        let partials = Config { name: PARTIALS.into(), subjects: vec![subjects.partials()], ..events };
        let stream =
            ensure(jetstream, Config { description: Some("Partials, lossy".into()), ..partials }).await?;
        captures(&stream.cached_info().config, &subjects.partials())?;
    }
    Ok(stream)
}

/// The stream of events as the daemon creates it.
pub fn events_config(nats: &Nats, subjects: &Subjects) -> Config {
    Config {
        name: nats.events_stream.clone(),
        description: Some("What Hark heard: jobs, finals, annotations, alerts".into()),
        subjects: subjects.stored(),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        max_age: nats.events_max_age,
        max_bytes: i64::try_from(nats.events_max_bytes).unwrap_or(i64::MAX),
        num_replicas: nats.replicas,
        allow_direct: true,
        ..Config::default()
    }
}

/// Whether a stream keeps every event, and nothing that would stand between them.
///
/// # Errors
/// What is wrong with it.
pub fn keeps_events(found: &Config, subjects: &Subjects) -> Result<(), StreamError> {
    if let Some(why) = loses_events(found, &subjects.stored()) {
        return Err(StreamError::LosesEvents { name: found.name.clone(), why });
    }
    subjects.stored().iter().try_for_each(|subject| captures(found, subject))?;
    if found.subjects.iter().any(|pattern| covers(pattern, &subjects.partials())) {
        return Err(StreamError::TakesPartials { name: found.name.clone(), subject: subjects.partials() });
    }
    Ok(())
}

/// The setting of an existing stream with which the stream would lose an event, or a daemon would send one twice.
fn loses_events(config: &Config, stored: &[String]) -> Option<String> {
    if config.retention != RetentionPolicy::Limits {
        let retention = format!("{:?}", config.retention).to_lowercase();
        return Some(format!(
            "has {retention} retention, which keeps no event that its consumers have acknowledged"
        ));
    }
    if config.no_ack {
        return Some("has no_ack = true, so it confirms no event".into());
    }
    let touches = |transform: &&SubjectTransform| {
        let source = if transform.source.is_empty() { ">" } else { &transform.source };
        stored.iter().any(|subject| covers(source, subject) || covers(subject, source))
    };
    if let Some(transform) = config.subject_transform.as_ref().filter(touches) {
        return Some(format!(
            "has a subject_transform from {:?} to {:?}, under which events are not found again",
            transform.source, transform.destination
        ));
    }
    let most = config.max_messages_per_subject;
    (most > 0).then(|| {
        let most = counted(most, "message");
        format!(
            "keeps {most} of a subject (max_msgs_per_subject), and several events of a job may have the same"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_does_not_keep_every_event_is_named() {
        let stored = Subjects::new("hark").stored();
        let transform =
            |source: &str| Some(SubjectTransform { source: source.into(), destination: "kept.>".into() });
        for config in [
            Config::default(),
            Config { max_messages_per_subject: -1, ..Config::default() },
            Config { subject_transform: transform("calls.>"), ..Config::default() },
        ] {
            assert_eq!(loses_events(&config, &stored), None);
        }
        for (config, word) in [
            (Config { retention: RetentionPolicy::Interest, ..Config::default() }, "interest retention"),
            (Config { retention: RetentionPolicy::WorkQueue, ..Config::default() }, "workqueue retention"),
            (Config { no_ack: true, ..Config::default() }, "no_ack"),
            (
                Config { subject_transform: transform("hark.event.job.accepted.>"), ..Config::default() },
                "subject_transform",
            ),
            (Config { max_messages_per_subject: 1, ..Config::default() }, "max_msgs_per_subject"),
        ] {
            assert!(loses_events(&config, &stored).unwrap().contains(word), "{word}");
        }
    }
}
