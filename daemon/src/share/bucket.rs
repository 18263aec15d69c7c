//! A key-value bucket that daemons share. A daemon can change the value of a key only if it knows the value's revision.

use std::time::Duration;

use async_nats::jetstream::context::{CreateKeyValueErrorKind, KeyValueErrorKind};
use async_nats::jetstream::kv::{self, Store, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::broker::JetStream;
use crate::broker::stream::remedy;
use crate::job::persisted::{self, Unreadable};

/// The bucket did not answer, so it is unknown which daemon owns the job or the webhook of the key. This daemon must not act on anything that
/// another daemon may own.
#[derive(Debug, thiserror::Error)]
#[error("the bucket {bucket} does not answer: {reason}")]
pub struct Unconfirmed {
    pub bucket: String,
    pub reason: String,
}

/// How long the daemon waits for an answer of the bucket, and how long it relies on an answer: well below `ack_wait`, after which another
/// daemon may own the job.
pub fn within(ack_wait: Duration) -> Duration {
    (ack_wait / 6).min(Duration::from_secs(5))
}

/// The bucket. It is created when it is first needed and does not exist, and looked up again after each failed request, because it may have
/// been deleted while the daemon ran.
pub struct Bucket {
    jetstream: JetStream,
    config: kv::Config,
    store: Mutex<Option<Store>>,
}

impl Bucket {
    /// Opens no connection yet. `config`: what the bucket is created as. `ack_wait`: `nats.ack_wait`.
    pub fn new(connection: &JetStream, config: kv::Config, ack_wait: Duration) -> Self {
        let jetstream = connection.clone().within(within(ack_wait));
        Bucket { jetstream, config, store: Mutex::default() }
    }

    /// Whether there is a connection, as far as the client knows.
    pub fn is_connected(&self) -> bool {
        self.jetstream.is_connected()
    }

    /// The revision of a key, 0 if the key does not exist, and its value. The stream's leader answers: a replica may be behind.
    pub async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<(u64, Option<T>), Unconfirmed> {
        let store = self.store().await?;
        let subject = format!("{}{key}", store.prefix);
        match self.asked(store.stream.get_last_raw_message_by_subject(&subject)).await? {
            // A deleted key has a message without a value.
            Ok(message) if message.payload.is_empty() => Ok((message.sequence, None)),
            Ok(message) => match persisted::from_json(&message.payload) {
                Ok(value) => Ok((message.sequence, Some(value))),
                Err(newer @ Unreadable::Newer { .. }) => Err(self.unconfirmed(format!(
                    "a newer daemon wrote the key {key}, and this daemon leaves it alone: {newer}"
                ))),
                Err(error) => Err(self.unconfirmed(format!(
                    "the key {key} has a value that this harkd cannot read ({error}); if no other program needs it, delete the key"
                ))),
            },
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, None)),
            Err(error) => Err(self.away(error).await),
        }
    }

    /// Writes a value and returns its revision; `None`: the key has changed since `revision`.
    pub async fn update<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<Option<u64>, Unconfirmed> {
        let store = self.store().await?;
        let value = persisted::to_json(value).map_err(|error| self.unconfirmed(error))?;
        match self.asked(store.update(key, value.into(), revision)).await? {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(self.away(error).await),
        }
    }

    /// Removes a key with its history; returns whether there was one. A key-value bucket permits no erasing of single messages, so the
    /// server's files keep the bytes until their place is used again.
    pub async fn remove(&self, key: &str) -> Result<bool, Unconfirmed> {
        let store = self.store().await?;
        let purge = async { store.stream.purge().filter(format!("{}{key}", store.prefix)).await };
        match self.asked(purge).await? {
            Ok(purged) => Ok(purged.purged > 0),
            Err(error) => Err(self.away(error).await),
        }
    }

    /// When the bucket was created, ns since the epoch. A lost bucket is created anew.
    pub async fn made(&self) -> Result<i128, Unconfirmed> {
        let store = self.store().await?;
        match self.asked(store.stream.get_info()).await? {
            Ok(info) => Ok(info.created.unix_timestamp_nanos()),
            Err(error) => Err(self.away(error).await),
        }
    }

    async fn store(&self) -> Result<Store, Unconfirmed> {
        // Without a connection the client would wait, and the lanes with it, although jobs of folders can go on.
        if !self.is_connected() {
            return Err(self.unconfirmed(self.jetstream.no_connection()));
        }
        let mut store = self.store.lock().await;
        if let Some(store) = store.as_ref() {
            return Ok(store.clone());
        }
        let found = self.asked(self.find_or_make()).await??;
        Ok(store.insert(found).clone())
    }

    async fn find_or_make(&self) -> Result<Store, Unconfirmed> {
        let bucket = &self.config.bucket;
        match self.jetstream.get_key_value(bucket).await {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == KeyValueErrorKind::GetBucket => {
                match self.jetstream.create_key_value(self.config.clone()).await {
                    Ok(made) => Ok(made),
                    Err(refused) if refused.kind() == CreateKeyValueErrorKind::TimedOut => {
                        Err(self.unconfirmed("no answer in time"))
                    }
                    // Another daemon has created the bucket meanwhile, or this user may not create it.
                    Err(refused) => self.jetstream.get_key_value(bucket).await.map_err(|_| {
                        self.unconfirmed(format!("it cannot be made ({refused}); {}", remedy(&refused)))
                    }),
                }
            }
            Err(error) => Err(self.unconfirmed(error)),
        }
    }

    /// The outcome of a request about the bucket, or the server's refusal of the request.
    fn asked<T>(&self, request: impl Future<Output = T>) -> impl Future<Output = Result<T, Unconfirmed>> {
        // In a box, as `unless_refused` has it: nearly everything that a job does waits for its claim.
        let request = Box::pin(request);
        async move {
            // The client requests the account's information before it creates a bucket.
            let named = [self.config.bucket.as_str(), ".API.INFO\""];
            self.jetstream.unless_refused(&named, request).await.map_err(|refused| self.unconfirmed(refused))
        }
    }

    /// Drops the bucket's handle, so that the next request looks the bucket up again.
    async fn away(&self, error: impl std::fmt::Display) -> Unconfirmed {
        *self.store.lock().await = None;
        self.unconfirmed(error)
    }

    pub fn unconfirmed(&self, reason: impl std::fmt::Display) -> Unconfirmed {
        Unconfirmed { bucket: self.config.bucket.clone(), reason: reason.to_string() }
    }
}
