//! The streams of events, as the config asks for them.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};

use super::subject::Subjects;
use crate::config::Nats;
use crate::source::jetstream::{StreamError, check_server, ensure};

/// Checks the server and makes what is absent: the stream of events, and the stream of partials if it is wanted.
///
/// # Errors
/// A server that is too old, or a stream that is absent and cannot be made.
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
    if nats.store_partials {
        let partials = Config { name: "HARK_PARTIALS".into(), subjects: vec![subjects.partials()], ..events };
        ensure(context, Config { description: Some("Partials, lossy".into()), ..partials }).await?;
    }
    Ok(stream)
}
