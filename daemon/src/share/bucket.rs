//! The key-value bucket `HARK_JOBS`: a claim for each key, changed only by who knows its revision.

use std::time::Duration;

use async_nats::jetstream::context::{CreateKeyValueErrorKind, KeyValueErrorKind};
use async_nats::jetstream::kv::{self, Store, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use tokio::sync::Mutex;

use super::claim::Claim;
use crate::broker::stream::remedy;
use crate::broker::{Connection, JetStream};
use crate::config::Nats;
use crate::job::persisted::{self, Unreadable};

const BUCKET: &str = "HARK_JOBS";

/// Claims are kept at least this long, however little the ledger keeps: a result lives for a day at the service.
const SHORTEST_KEEP: Duration = Duration::from_secs(48 * 3600);

/// Nobody could say whose job it is: nothing that costs may be sent now.
#[derive(Debug, thiserror::Error)]
#[error("the bucket {BUCKET} does not answer: {0}")]
pub struct Unconfirmed(pub String);

/// How long an answer of the bucket is waited for, and is believed: well below `ack_wait`, after which another daemon may have the job.
pub fn within(ack_wait: Duration) -> Duration {
    (ack_wait / 6).min(Duration::from_secs(5))
}

/// Made when it is first needed and absent; looked for again after each trouble, for it may have been deleted under us.
pub struct Bucket {
    jetstream: JetStream,
    config: kv::Config,
    store: Mutex<Option<Store>>,
}

impl Bucket {
    /// Connects nothing yet.
    pub fn new(connection: &Connection, nats: &Nats, keep: Duration) -> Self {
        let config = kv::Config {
            bucket: BUCKET.into(),
            description: "Which harkd works on which message's job".into(),
            history: 1,
            max_age: keep.max(SHORTEST_KEEP),
            num_replicas: nats.replicas,
            ..kv::Config::default()
        };
        let jetstream = connection.jetstream().within(within(nats.ack_wait));
        Bucket { jetstream, config, store: Mutex::default() }
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.jetstream.is_connected()
    }

    /// The revision of a key, 0 for none, and its claim. Asked of the stream's leader: a copy may be behind.
    pub async fn read(&self, key: &str) -> Result<(u64, Option<Claim>), Unconfirmed> {
        let store = self.store().await?;
        let subject = format!("{}{key}", store.prefix);
        match self.asked(store.stream.get_last_raw_message_by_subject(&subject)).await? {
            // A deleted key has a message without a value.
            Ok(message) if message.payload.is_empty() => Ok((message.sequence, None)),
            Ok(message) => match persisted::from_json(&message.payload) {
                Ok(claim) => Ok((message.sequence, Some(claim))),
                Err(newer @ Unreadable::Newer { .. }) => Err(Unconfirmed(format!(
                    "the claim {key} is a newer daemon's and is left alone: {newer}"
                ))),
                Err(error) => Err(Unconfirmed(format!(
                    "the key {key} holds something else than a claim ({error}); delete it if no harkd wrote it"
                ))),
            },
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, None)),
            Err(error) => Err(self.away(error).await),
        }
    }

    /// `false`: somebody has changed the key since `revision`.
    pub async fn update(&self, key: &str, claim: &Claim, revision: u64) -> Result<bool, Unconfirmed> {
        let store = self.store().await?;
        let value = persisted::to_json(claim).map_err(|error| Unconfirmed(error.to_string()))?;
        match self.asked(store.update(key, value.into(), revision)).await? {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(self.away(error).await),
        }
    }

    /// When the bucket was made, ns since the epoch; one that was lost is made anew.
    pub async fn made(&self) -> Result<i128, Unconfirmed> {
        let store = self.store().await?;
        match self.asked(store.stream.get_info()).await? {
            Ok(info) => Ok(info.created.unix_timestamp_nanos()),
            Err(error) => Err(self.away(error).await),
        }
    }

    async fn store(&self) -> Result<Store, Unconfirmed> {
        // The client would wait for its connection, and the lanes with it: jobs of folders can go on.
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
                    // Another daemon was quicker, or neither may.
                    Err(refused) => self.jetstream.get_key_value(BUCKET).await.map_err(|_| {
                        Unconfirmed(format!("it cannot be made ({refused}); {}", remedy(&refused)))
                    }),
                }
            }
            Err(error) => Err(Unconfirmed(error.to_string())),
        }
    }

    /// What a request about the bucket comes to, or the server's refusal of it.
    async fn asked<T>(&self, request: impl Future<Output = T>) -> Result<T, Unconfirmed> {
        // A bucket is made after a look at the account.
        let named = [BUCKET, ".API.INFO\""];
        self.jetstream
            .unless_refused(&named, request)
            .await
            .map_err(|refused| Unconfirmed(refused.to_string()))
    }

    async fn away(&self, error: impl std::fmt::Display) -> Unconfirmed {
        *self.store.lock().await = None;
        Unconfirmed(error.to_string())
    }
}
