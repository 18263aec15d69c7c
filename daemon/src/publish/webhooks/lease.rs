//! Which daemon delivers a webhook: the one whose id is in its record, for as long as it renews the record.
//!
//! No clock of another machine counts: a daemon takes over when it has seen the same revision for the length of a lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use uuid::Uuid;

use super::record::Record;
use crate::config::Nats;
use crate::share::{Bucket, Unconfirmed};

const BUCKET: &str = "HARK_WEBHOOKS";

/// What the bucket is created as.
pub fn bucket(nats: &Nats) -> kv::Config {
    kv::Config {
        bucket: BUCKET.into(),
        description: "Which harkd delivers which webhook, and what waits".into(),
        history: 1,
        num_replicas: nats.replicas,
        ..kv::Config::default()
    }
}

/// A daemon that would deliver a webhook.
pub struct Candidate {
    bucket: Arc<Bucket>,
    key: String,
    me: Uuid,
    length: Duration,
    seen: Option<(u64, Instant)>,
}

/// What a look at the record found.
pub enum Look {
    Ours(Lease),
    /// Another daemon delivers.
    Others(Record),
}

impl Candidate {
    /// `length`: `nats.ack_wait`.
    pub fn new(bucket: Arc<Bucket>, key: String, me: Uuid, length: Duration) -> Candidate {
        Candidate { bucket, key, me, length, seen: None }
    }

    /// Takes the lease if no daemon holds it, this one did, or its holder has been silent.
    ///
    /// # Errors
    /// When the bucket does not answer.
    pub async fn look(&mut self) -> Result<Look, Unconfirmed> {
        let (revision, found) = self.bucket.read::<Record>(&self.key).await?;
        let record = found.unwrap_or_default();
        let is_ours = record.owner.is_none_or(|owner| owner == self.me);
        let seen = self.seen.filter(|(seen, _)| *seen == revision);
        let (_, since) = *self.seen.insert(seen.unwrap_or((revision, Instant::now())));
        if !is_ours && since.elapsed() < self.length {
            return Ok(Look::Others(record));
        }
        let mut lease = Lease {
            bucket: Arc::clone(&self.bucket),
            key: self.key.clone(),
            length: self.length,
            record: Record { owner: Some(self.me), ..record.clone() },
            revision,
            written: Instant::now(),
        };
        match lease.write().await? {
            true => Ok(Look::Ours(lease)),
            false => Ok(Look::Others(record)),
        }
    }
}

/// The right to deliver a webhook.
pub struct Lease {
    bucket: Arc<Bucket>,
    key: String,
    length: Duration,
    pub record: Record,
    revision: u64,
    written: Instant,
}

impl Lease {
    /// Whether a request that begins now ends before another daemon may take over.
    pub fn is_fresh(&self) -> bool {
        self.written.elapsed() < self.length * 2 / 3
    }

    /// Writes the record, and renews the lease; false: another daemon delivers now.
    ///
    /// # Errors
    /// When the bucket does not answer; the record may be written all the same.
    pub async fn store(&mut self) -> Result<bool, Unconfirmed> {
        loop {
            if self.write().await? {
                return Ok(true);
            }
            // An earlier write may have arrived without its answer, or the bucket was deleted.
            let (revision, found) = self.bucket.read::<Record>(&self.key).await?;
            if found.is_some_and(|found| found.owner.is_some_and(|owner| Some(owner) != self.record.owner)) {
                return Ok(false);
            }
            self.revision = revision;
        }
    }

    /// Lets another daemon deliver at once.
    pub async fn release(mut self) {
        self.record.owner = None;
        // Unreleased, the lease ends by itself.
        let _ = self.write().await;
    }

    async fn write(&mut self) -> Result<bool, Unconfirmed> {
        let begun = Instant::now();
        let Some(revision) = self.bucket.update(&self.key, &self.record, self.revision).await? else {
            return Ok(false);
        };
        (self.revision, self.written) = (revision, begun);
        Ok(true)
    }
}
