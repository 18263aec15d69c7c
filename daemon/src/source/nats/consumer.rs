//! The stream that a source reads, and the source's durable consumer on it.

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use tracing::{debug, warn};

use super::Subject;
use crate::broker::stream::{StreamError, captures, ensure, find};
use crate::job::ledger::LedgerError;

/// Why a source cannot receive messages.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the stream {name} does not exist; create it, or leave `stream` out to use the daemon's own")]
    NoStream { name: String },
    #[error(
        "the consumer {name}: {reason}; on a work-queue stream no other consumer may filter the same subjects"
    )]
    Consumer { name: String, reason: String },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Subject {
    /// The source's durable consumer: created if absent, changed if it was created for another config.
    pub(super) async fn consumer(&self) -> Result<PullConsumer, SourceError> {
        self.handles.jetstream.check_server()?;
        let stream = self.stream().await?;
        let subject = self.config().subject.clone();
        captures(&stream.cached_info().config, &subject)?;
        // Before the consumer is created: in a stream that was created again, a held message's sequence number means another message.
        self.held.in_stream_of(stream.cached_info().created.unix_timestamp_nanos());
        // The bucket is created before the consumer, so a bucket that is younger than the consumer was lost once. Without the bucket
        // nothing is taken in, so a failure here needs no answer.
        if let Err(unconfirmed) = self.handles.claims.bucket_made().await {
            debug!(source = self.name, %unconfirmed, "the bucket did not answer; it is created with the first claim");
        }
        let durable = format!("hark_{}", self.name);
        let config = pull::Config {
            durable_name: Some(durable.clone()),
            filter_subject: subject,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait(),
            // The server's default is 1,000: as many messages whose tasks take long would stop all other deliveries.
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let named = format!(".{}.{durable}", self.stream.name);
        self.warn_of_change(&stream, &config, &named).await;
        let created = stream.create_consumer(config);
        let created = self.handles.jetstream.unless_refused(&[&named], created).await;
        let consumer: PullConsumer = created
            .map_err(StreamError::from)?
            .map_err(|error| SourceError::Consumer { name: durable, reason: error.to_string() })?;
        *self.heard_since.lock() = consumer.cached_info().created.unix_timestamp_nanos();
        Ok(consumer)
    }

    /// Warns that this daemon changes the consumer of another config: a daemon that still runs with that config is not informed.
    async fn warn_of_change(&self, stream: &Stream, config: &pull::Config, named: &str) {
        let Some(durable) = &config.durable_name else { return };
        let found = self.handles.jetstream.unless_refused(&[named], stream.consumer_info(durable)).await;
        let Ok(Ok(found)) = found else { return };
        let was = found.config;
        if was.filter_subject != config.filter_subject || was.ack_wait != config.ack_wait {
            warn!(
                source = self.name,
                consumer = durable,
                subject = was.filter_subject,
                ack_wait = ?was.ack_wait,
                "this daemon changes the consumer from this subject and ack_wait to those of its config; a daemon that still runs with the \
                 former ones gets no messages of its subject, or loses recordings under way: give all daemons of a source the same"
            );
        }
    }

    async fn stream(&self) -> Result<Stream, SourceError> {
        if self.own_stream {
            return Ok(ensure(&self.handles.jetstream, self.stream.clone()).await?);
        }
        let found = find(&self.handles.jetstream, &self.stream.name).await?;
        found.ok_or_else(|| SourceError::NoStream { name: self.stream.name.clone() })
    }
}
