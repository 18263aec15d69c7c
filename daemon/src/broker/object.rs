//! Object buckets of the audio that messages refer to.

use std::error::Error;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::object_store::{
    self, DeleteErrorKind, GetErrorKind, Object, ObjectMetadata, ObjectStore,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hark_sdk::event::ObjectRef;
use serde::Deserialize;

use tokio::io::AsyncRead;

use super::JetStream;
use super::large::{LARGEST_CHUNK, limit};
use super::stream::find;
use crate::config::{Nats, UPLOADS};

/// How long [`UPLOADS`] keeps an object that no message refers to, where Hark creates the bucket.
const ORPHANS: Duration = Duration::from_secs(86_400);

/// Why an object cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is no such bucket or object, or it is a link.
    #[error("{0}")]
    Absent(String),
    /// The server does not answer, or refuses.
    #[error("{0}")]
    NotNow(String),
}

/// The message that describes an object, as far as it is needed here.
#[derive(Deserialize)]
pub(super) struct Description {
    #[serde(default)]
    pub(super) nuid: String,
    #[serde(default)]
    pub(super) deleted: bool,
}

/// The subject under which its bucket describes an object.
pub(super) fn described(ObjectRef { bucket, name }: &ObjectRef) -> String {
    format!("$O.{bucket}.M.{}", URL_SAFE.encode(name))
}

impl JetStream {
    /// The bucket of this config, created if it is absent.
    async fn bucket(&self, config: object_store::Config) -> Result<ObjectStore, String> {
        let bucket = config.bucket.clone();
        let open = async {
            match self.get_object_store(&bucket).await {
                Err(error) if is_missing(&error) => {
                    self.create_object_store(config).await.map_err(|error| error.to_string())
                }
                found => found.map_err(|error| error.to_string()),
            }
        };
        let opened = self.unless_refused(&[&bucket], open).await.map_err(|refused| refused.to_string());
        opened.flatten().map_err(|error| format!("the object bucket {bucket}: {error}"))
    }

    /// Puts an object into the bucket of this config, which is created if it is absent. Memory: one chunk.
    ///
    /// # Errors
    /// A sentence, when the object cannot be read, or the server does not answer or refuses.
    pub(super) async fn put_object(
        &self,
        config: object_store::Config,
        name: &str,
        object: &mut (impl AsyncRead + Unpin),
    ) -> Result<ObjectRef, String> {
        let bucket = config.bucket.clone();
        let store = self.bucket(config).await?;
        // A chunk is a NATS message as well.
        let chunk_size = limit(self.client().server_info().max_payload).min(LARGEST_CHUNK);
        let about =
            ObjectMetadata { name: name.into(), chunk_size: Some(chunk_size), ..ObjectMetadata::default() };
        let put = self.unless_refused(&[&bucket], store.put(about, object)).await;
        let put = put.map_err(|refused| refused.to_string())?.map_err(|error| error.to_string());
        put.map_err(|error| format!("the object bucket {bucket}: {error}"))?;
        Ok(ObjectRef { bucket, name: name.into() })
    }

    /// The bucket [`UPLOADS`], created if it is absent.
    ///
    /// # Errors
    /// A sentence, when the server does not answer or refuses.
    pub async fn uploads(&self, nats: &Nats) -> Result<ObjectStore, String> {
        self.bucket(uploads(nats)).await
    }

    /// Puts audio into the bucket [`UPLOADS`].
    ///
    /// # Errors
    /// As of [`JetStream::uploads`], or when the audio cannot be read.
    pub async fn upload(
        &self,
        nats: &Nats,
        name: &str,
        audio: &mut (impl AsyncRead + Unpin),
    ) -> Result<ObjectRef, String> {
        self.put_object(uploads(nats), name, audio).await
    }

    /// Opens an object for reading. A link to another object is not followed: it might lead into a bucket that the message may not name.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn open_object(&self, place: &ObjectRef) -> Result<Object, Unavailable> {
        let ObjectRef { bucket, name } = place;
        let not_now = |error: &dyn std::fmt::Display| {
            Unavailable::NotNow(format!(
                "the object {name:?} of the bucket {bucket} cannot be read now: {error}"
            ))
        };
        let open = async {
            let store = match self.get_object_store(bucket).await {
                Ok(store) => store,
                Err(error) if is_missing(&error) => {
                    return Err(Unavailable::Absent(format!(
                        "there is no object bucket {bucket}; create it, put the audio into it, and send the message again"
                    )));
                }
                Err(error) => return Err(not_now(&error)),
            };
            let object = match store.get(name).await {
                Ok(object) => object,
                Err(error) => {
                    let is_absent = match error.kind() {
                        GetErrorKind::NotFound | GetErrorKind::InvalidName | GetErrorKind::BucketLink => true,
                        _ => self.is_deleted(place).await,
                    };
                    return Err(if is_absent {
                        Unavailable::Absent(format!(
                            "the bucket {bucket} has no object {name:?}; put the audio into it before the message is sent"
                        ))
                    } else {
                        not_now(&error)
                    });
                }
            };
            let found = object.info();
            if (&found.bucket, &found.name) != (bucket, name) {
                return Err(Unavailable::Absent(format!(
                    "the object {name:?} of the bucket {bucket} is a link, which is not followed; name the object itself"
                )));
            }
            Ok(object)
        };
        self.unless_refused(&[bucket], open).await.map_err(|refused| not_now(&refused))?
    }

    /// Deletes an object. One that is gone already, with its bucket or without, is no error.
    ///
    /// # Errors
    /// A sentence, when the server does not answer or refuses.
    pub async fn delete_object(&self, place: &ObjectRef) -> Result<(), String> {
        let ObjectRef { bucket, name } = place;
        let delete = async {
            let store = match self.get_object_store(bucket).await {
                Ok(store) => store,
                Err(error) if is_missing(&error) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            match store.delete(name).await {
                Err(error) if error.kind() != DeleteErrorKind::NotFound && !self.is_deleted(place).await => {
                    Err(error.to_string())
                }
                _ => Ok(()),
            }
        };
        self.unless_refused(&[bucket], delete).await.map_err(|refused| refused.to_string())?
    }

    /// Whether an object was deleted whose description async-nats cannot read: nats-py leaves the time of a deleted one empty.
    pub(super) async fn is_deleted(&self, place: &ObjectRef) -> bool {
        let Ok(Some(stream)) = find(self, &format!("OBJ_{}", place.bucket)).await else { return false };
        let Ok(Some(message)) = self.last_message(&stream, &described(place)).await else { return false };
        serde_json::from_slice(&message.payload).is_ok_and(|description: Description| description.deleted)
    }
}

fn uploads(nats: &Nats) -> object_store::Config {
    object_store::Config {
        bucket: UPLOADS.into(),
        description: Some("Audio for Hark; an object goes when its recording is recognized".into()),
        max_age: ORPHANS,
        num_replicas: nats.replicas,
        ..object_store::Config::default()
    }
}

/// Whether an error of opening a bucket says that there is none.
fn is_missing(error: &(dyn Error + 'static)) -> bool {
    let of_stream = error.source().and_then(|source| source.downcast_ref::<GetStreamError>());
    of_stream.is_some_and(|error| match error.kind() {
        GetStreamErrorKind::JetStream(error) => error.error_code() == ErrorCode::STREAM_NOT_FOUND,
        _ => false,
    })
}
