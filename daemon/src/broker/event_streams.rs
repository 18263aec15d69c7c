//! The streams of events, as the config asks for them.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};

use super::subject::Subjects;
use crate::broker::stream::{StreamError, captures, check_server, covers, ensure};
use crate::config::Nats;

/// Checks the server and makes what is absent: the stream of events, and the stream of partials if it is wanted.
///
/// # Errors
/// A server that is too old, a stream that is absent and cannot be made, or one that takes other subjects than the contract has: without some
/// events a job would never end, and with partials none could name its predecessor.
pub async fn ensure_event_streams(
    context: &Context,
    nats: &Nats,
    subjects: &Subjects,
) -> Result<Stream, StreamError> {
    check_server(&context.client())?;
    let events = Config {
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
    };
    let stream = ensure(context, events.clone()).await?;
    let found = &stream.cached_info().config;
    subjects.stored().iter().try_for_each(|subject| captures(found, subject))?;
    if found.subjects.iter().any(|pattern| covers(pattern, &subjects.partials())) {
        return Err(StreamError::TakesPartials { name: found.name.clone(), subject: subjects.partials() });
    }
    if nats.store_partials {
        let partials = Config { name: "HARK_PARTIALS".into(), subjects: vec![subjects.partials()], ..events };
        let stream =
            ensure(context, Config { description: Some("Partials, lossy".into()), ..partials }).await?;
        captures(&stream.cached_info().config, &subjects.partials())?;
    }
    Ok(stream)
}
