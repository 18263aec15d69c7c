//! Fetches the audio of a JetStream object onto this machine.

use std::io;
use std::path::Path;
use std::time::Duration;

use hark_sdk::event::ObjectRef;
use tokio::io::AsyncReadExt;

use super::download::{Download, Fetched, Unfetched, whole_or_absent};
use crate::broker::JetStream;
use crate::broker::large::LARGEST_CHUNK;
use crate::broker::object::Unavailable;

/// How long the server may send nothing: an object whose chunks are missing never ends.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Fetches at most `most` bytes into a file, which is complete afterwards and has the object's digest, or absent.
///
/// # Errors
/// See [`Unfetched`].
pub async fn fetch(
    jetstream: &JetStream,
    place: &ObjectRef,
    into: &Path,
    most: u64,
) -> Result<Fetched, Unfetched> {
    whole_or_absent(into, write(jetstream, place, into, most).await).await
}

async fn write(
    jetstream: &JetStream,
    place: &ObjectRef,
    into: &Path,
    most: u64,
) -> Result<Fetched, Unfetched> {
    let mut object = jetstream.open_object(place).await.map_err(|unavailable| match unavailable {
        Unavailable::Absent(message) => Unfetched::Absent(message),
        Unavailable::NotNow(message) => Unfetched::NotNow(message),
    })?;
    if object.info().size as u64 > most {
        return Err(Unfetched::TooLarge);
    }
    let cut_off = |reason: &dyn std::fmt::Display| {
        let ObjectRef { bucket, name } = place;
        Unfetched::NotNow(format!("the object {name:?} of the bucket {bucket} did not come whole: {reason}"))
    };
    let mut file = Download::create(into, most)?;
    let mut chunk = vec![0; LARGEST_CHUNK];
    loop {
        let read = tokio::time::timeout(SILENCE_LIMIT, object.read(&mut chunk)).await;
        let read = read.map_err(|silent| cut_off(&silent))?.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Unfetched::Absent(damaged(place)),
            _ => cut_off(&error),
        });
        match read? {
            0 => return file.finish().await,
            read => file.add(&chunk[..read]).await?,
        }
    }
}

fn damaged(ObjectRef { bucket, name }: &ObjectRef) -> String {
    format!("the object {name:?} of the bucket {bucket} does not have its digest; put it there once more")
}
