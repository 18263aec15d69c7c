//! The key-value bucket `HARK_JOBS`: a claim for each key, changed only by who knows its revision.

use std::time::Duration;

use async_nats::connection::State as Connection;
use async_nats::jetstream::context::{CreateKeyValueErrorKind, KeyValueErrorKind};
use async_nats::jetstream::kv::{self, Store, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, Context};
use tokio::sync::Mutex;

use super::claim::Claim;
use crate::broker::stream::remedy;
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
    context: Context,
    config: kv::Config,
    store: Mutex<Option<Store>>,
}

impl Bucket {
    /// Connects nothing yet.
    pub fn new(client: async_nats::Client, nats: &Nats, keep: Duration) -> Self {
        let mut context = jetstream::new(client);
        context.set_timeout(within(nats.ack_wait));
        let config = kv::Config {
            bucket: BUCKET.into(),
            description: "Which harkd works on which message's job".into(),
            history: 1,
            max_age: keep.max(SHORTEST_KEEP),
            num_replicas: nats.replicas,
            ..kv::Config::default()
        };
        Bucket { context, config, store: Mutex::default() }
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.context.client().connection_state() == Connection::Connected
    }

    /// The revision of a key, 0 for none, and its claim. Asked of the stream's leader: a copy may be behind.
    pub async fn read(&self, key: &str) -> Result<(u64, Option<Claim>), Unconfirmed> {
        let store = self.store().await?;
        let subject = format!("{}{key}", store.prefix);
        match store.stream.get_last_raw_message_by_subject(&subject).await {
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
        match store.update(key, value.into(), revision).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(self.away(error).await),
        }
    }

    /// When the bucket was made, ns since the epoch; one that was lost is made anew.
    pub async fn made(&self) -> Result<i128, Unconfirmed> {
        let store = self.store().await?;
        match store.stream.get_info().await {
            Ok(info) => Ok(info.created.unix_timestamp_nanos()),
            Err(error) => Err(self.away(error).await),
        }
    }

    async fn store(&self) -> Result<Store, Unconfirmed> {
        // The client would wait for its connection, and the lanes with it: jobs of folders can go on.
        if !self.is_connected() {
            return Err(Unconfirmed("NATS is not connected".into()));
        }
        let mut store = self.store.lock().await;
        if let Some(store) = store.as_ref() {
            return Ok(store.clone());
        }
        let context = &self.context;
        let found = match context.get_key_value(BUCKET).await {
            Ok(found) => found,
            Err(error) if error.kind() == KeyValueErrorKind::GetBucket => {
                match context.create_key_value(self.config.clone()).await {
                    Ok(made) => made,
                    Err(refused) if refused.kind() == CreateKeyValueErrorKind::TimedOut => {
                        return Err(Unconfirmed("no answer in time".into()));
                    }
                    // Another daemon was quicker, or neither may.
                    Err(refused) => context.get_key_value(BUCKET).await.map_err(|_| {
                        Unconfirmed(format!("it cannot be made ({refused}); {}", remedy(&refused)))
                    })?,
                }
            }
            Err(error) => return Err(Unconfirmed(error.to_string())),
        };
        Ok(store.insert(found).clone())
    }

    async fn away(&self, error: impl std::fmt::Display) -> Unconfirmed {
        *self.store.lock().await = None;
        Unconfirmed(error.to_string())
    }
}
