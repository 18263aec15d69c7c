//! The key-value bucket `HARK_JOBS`: one claim for each key. A daemon can change a claim only if it knows the claim's revision.

use std::time::Duration;

use async_nats::jetstream::context::{CreateKeyValueErrorKind, KeyValueErrorKind};
use async_nats::jetstream::kv::{self, Store, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use tokio::sync::Mutex;

use super::claim::Claim;
use crate::broker::JetStream;
use crate::broker::stream::remedy;
use crate::config::Nats;
use crate::job::persisted::{self, Unreadable};

const BUCKET: &str = "HARK_JOBS";

/// Claims are kept at least this long, even if the ledger keeps jobs for less: the service keeps a task's result for a day.
const SHORTEST_KEEP: Duration = Duration::from_secs(48 * 3600);

/// The bucket did not tell which daemon owns the job: this daemon may send no request that costs now.
#[derive(Debug, thiserror::Error)]
#[error("the bucket {BUCKET} does not answer: {0}")]
pub struct Unconfirmed(pub String);

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
    /// Opens no connection yet. `keep`: how long the ledger keeps jobs.
    pub fn new(connection: &JetStream, nats: &Nats, keep: Duration) -> Self {
        let config = kv::Config {
            bucket: BUCKET.into(),
            description: "Which harkd works on which message's job".into(),
            history: 1,
            max_age: keep.max(SHORTEST_KEEP),
            num_replicas: nats.replicas,
            ..kv::Config::default()
        };
        let jetstream = connection.clone().within(within(nats.ack_wait));
        Bucket { jetstream, config, store: Mutex::default() }
    }

    /// Whether there is a connection, as far as the client knows.
    pub fn is_connected(&self) -> bool {
        self.jetstream.is_connected()
    }

    /// The revision of a key, 0 if the key does not exist, and its claim. The stream's leader answers: a replica may be behind.
    pub async fn read(&self, key: &str) -> Result<(u64, Option<Claim>), Unconfirmed> {
        let store = self.store().await?;
        let subject = format!("{}{key}", store.prefix);
        match self.asked(store.stream.get_last_raw_message_by_subject(&subject)).await? {
            // A deleted key has a message without a value.
            Ok(message) if message.payload.is_empty() => Ok((message.sequence, None)),
            Ok(message) => match persisted::from_json(&message.payload) {
                Ok(claim) => Ok((message.sequence, Some(claim))),
                Err(newer @ Unreadable::Newer { .. }) => Err(Unconfirmed(format!(
                    "a newer daemon wrote the claim {key}, and this daemon leaves it alone: {newer}"
                ))),
                Err(error) => Err(Unconfirmed(format!(
                    "the key {key} holds something else than a claim ({error}); delete it if no harkd wrote it"
                ))),
            },
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, None)),
            Err(error) => Err(self.away(error).await),
        }
    }

    /// Writes a claim; `false`: the key has changed since `revision`.
    pub async fn update(&self, key: &str, claim: &Claim, revision: u64) -> Result<bool, Unconfirmed> {
        let store = self.store().await?;
        let value = persisted::to_json(claim).map_err(|error| Unconfirmed(error.to_string()))?;
        match self.asked(store.update(key, value.into(), revision)).await? {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
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
            return Err(Unconfirmed(self.jetstream.no_connection()));
        }
        let mut store = self.store.lock().await;
        if let Some(store) = store.as_ref() {
            return Ok(store.clone());
        }
        let found = self.asked(self.find_or_make()).await??;
        Ok(store.insert(found).clone())
    }

    async fn find_or_make(&self) -> Result<Store, Unconfirmed> {
        match self.jetstream.get_key_value(BUCKET).await {
            Ok(found) => Ok(found),
            Err(error) if error.kind() == KeyValueErrorKind::GetBucket => {
                match self.jetstream.create_key_value(self.config.clone()).await {
                    Ok(made) => Ok(made),
                    Err(refused) if refused.kind() == CreateKeyValueErrorKind::TimedOut => {
                        Err(Unconfirmed("no answer in time".into()))
                    }
                    // Another daemon has created the bucket meanwhile, or this user may not create it.
                    Err(refused) => self.jetstream.get_key_value(BUCKET).await.map_err(|_| {
                        Unconfirmed(format!("it cannot be made ({refused}); {}", remedy(&refused)))
                    }),
                }
            }
            Err(error) => Err(Unconfirmed(error.to_string())),
        }
    }

    /// The outcome of a request about the bucket, or the server's refusal of the request.
    async fn asked<T>(&self, request: impl Future<Output = T>) -> Result<T, Unconfirmed> {
        // The client requests the account's information before it creates a bucket.
        let named = [BUCKET, ".API.INFO\""];
        self.jetstream
            .unless_refused(&named, request)
            .await
            .map_err(|refused| Unconfirmed(refused.to_string()))
    }

    /// Drops the bucket's handle, so that the next request looks the bucket up again.
    async fn away(&self, error: impl std::fmt::Display) -> Unconfirmed {
        *self.store.lock().await = None;
        Unconfirmed(error.to_string())
    }
}
