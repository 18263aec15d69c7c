//! The stream that a source reads, and the source's durable consumer on it.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use tracing::{debug, info};

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
    /// The source's durable consumer, as the contract describes it: created if absent, updated if it was created for another config.
    pub(super) async fn consumer(&self) -> Result<PullConsumer, SourceError> {
        self.jetstream.check_server()?;
        let stream = self.stream().await?;
        captures(&stream.cached_info().config, &self.config.subject)?;
        // Before the consumer is created: in a stream that was created again, a held message's sequence number means another message.
        self.held.in_stream_of(stream.cached_info().created.unix_timestamp_nanos());
        // The bucket is created before the consumer, so a bucket that is younger than the consumer was lost once. Without the bucket
        // nothing is taken in, so a failure here needs no answer.
        if let Err(unconfirmed) = self.claims.bucket_made().await {
            debug!(source = self.config.name, %unconfirmed, "the bucket did not answer; it is created with the first claim");
        }
        let durable = format!("hark_{}", self.config.name);
        let config = pull::Config {
            durable_name: Some(durable.clone()),
            filter_subject: self.config.subject.clone(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            // The server's default is 1,000: as many messages whose tasks take long would stop all other deliveries.
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let refused =
            |reason: String| SourceError::Consumer { name: format!("hark_{}", self.config.name), reason };
        let named = format!(".{}.{durable}", self.stream.name);
        let consumer = stream.get_or_create_consumer(&durable, config.clone());
        let consumer: PullConsumer = self
            .jetstream
            .unless_refused(&[&named], consumer)
            .await
            .map_err(StreamError::from)?
            .map_err(|error| refused(error.to_string()))?;
        *self.heard_since.lock() = consumer.cached_info().created.unix_timestamp_nanos();
        let Some(difference) = difference(&consumer.cached_info().config, &config) else {
            return Ok(consumer);
        };
        info!(consumer = durable, difference, "the consumer was made for another config and is changed");
        stream
            .update_consumer(config)
            .await
            .map_err(|error| refused(format!("it has {difference}, which cannot be changed ({error})")))
    }

    async fn stream(&self) -> Result<Stream, SourceError> {
        if self.own_stream {
            return Ok(ensure(&self.jetstream, self.stream.clone()).await?);
        }
        let found = find(&self.jetstream, &self.stream.name).await?;
        found.ok_or_else(|| SourceError::NoStream { name: self.stream.name.clone() })
    }
}

/// The settings by which an existing consumer would deliver other messages than `wanted`, or deliver them at other times.
fn difference(found: &consumer::Config, wanted: &pull::Config) -> Option<String> {
    let mut differences = Vec::new();
    if found.filter_subject != wanted.filter_subject || !found.filter_subjects.is_empty() {
        let subjects = [std::slice::from_ref(&found.filter_subject), &found.filter_subjects].concat();
        differences.push(format!("the subject {}", subjects.join(" ").trim()));
    }
    if found.ack_policy != wanted.ack_policy {
        differences.push(format!("ack_policy {:?}", found.ack_policy));
    }
    if found.ack_wait != wanted.ack_wait {
        differences.push(format!("ack_wait {:?}", found.ack_wait));
    }
    if found.max_ack_pending != wanted.max_ack_pending {
        differences.push(format!("max_ack_pending {}", found.max_ack_pending));
    }
    // With `max_deliver` a message is lost after some deliveries; with `backoff` it is redelivered at other times than `ack_wait`.
    if found.max_deliver > 0 {
        differences.push(format!("max_deliver {}", found.max_deliver));
    }
    if !found.backoff.is_empty() {
        differences.push(format!("backoff {:?}", found.backoff));
    }
    // With these three the consumer refuses requests that exceed them.
    if found.max_batch > 0 {
        differences.push(format!("max_batch {}", found.max_batch));
    }
    if found.max_bytes > 0 {
        differences.push(format!("max_bytes {}", found.max_bytes));
    }
    if found.max_expires > Duration::ZERO {
        differences.push(format!("max_expires {:?}", found.max_expires));
    }
    // With `headers_only` messages are delivered without their audio.
    if found.headers_only {
        differences.push("headers_only".to_owned());
    }
    (!differences.is_empty()).then(|| differences.join(", "))
}
