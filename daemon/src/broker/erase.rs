//! Erases messages and objects for good: the server overwrites the bytes of each in its files. A purge, and what a limit or an
//! acknowledgement removes, leaves them there until their place is used again (seen with nats-server 2.15.1).

use std::fmt::Display;

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use hark_sdk::event::{Kind, ObjectRef};
use jiff::Timestamp;

use super::object::{Description, described};
use super::stream::find;
use super::{JetStream, Unanswered};

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasedObject {
    Erased,
    /// There is none, nor a trace of one.
    Absent,
    /// It was put there later than the one that was to be erased, and stays.
    Newer,
}

impl JetStream {
    /// Erases the messages that a stream has under a subject (wildcards included), oldest first; returns how many. Those that another daemon
    /// erases meanwhile are not counted. Two requests a message.
    ///
    /// # Errors
    /// A sentence, when the server does not answer or refuses; what was erased until then stays erased.
    pub async fn erase_messages(&self, stream: &str, subject: &str) -> Result<u64, String> {
        let Some(found) = self.stream_to_erase(stream).await? else { return Ok(0) };
        let (mut from, mut erased) = (1, 0);
        loop {
            let next = self.first_message(&found, subject, from).await;
            let Some(message) = next.map_err(|error| unread(stream, error))? else { return Ok(erased) };
            from = message.sequence + 1;
            erased += u64::from(self.erase(&found, message.sequence).await?);
        }
    }

    /// Erases one message, if `is_wanted` says so of the time at which the stream stored it (ns since the epoch); returns whether it did.
    ///
    /// # Errors
    /// As of [`JetStream::erase_messages`].
    pub async fn erase_message(
        &self,
        stream: &str,
        sequence: u64,
        is_wanted: impl FnOnce(i128) -> bool,
    ) -> Result<bool, String> {
        let Some(found) = self.stream_to_erase(stream).await? else { return Ok(false) };
        match self.asked(stream, found.get_raw_message(sequence)).await? {
            Ok(message) if is_wanted(message.time.unix_timestamp_nanos()) => {
                self.erase(&found, sequence).await
            }
            Ok(_) => Ok(false),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(of(stream, error)),
        }
    }

    /// Erases an object that was put into its bucket before `until`, or the tombstone of a deleted object of this name.
    ///
    /// # Errors
    /// As of [`JetStream::erase_messages`].
    pub async fn erase_object(
        &self,
        object: &ObjectRef,
        until: Option<Timestamp>,
    ) -> Result<ErasedObject, String> {
        let bucket = &object.bucket;
        let stream = format!("OBJ_{bucket}");
        let Some(found) = self.stream_to_erase(&stream).await? else { return Ok(ErasedObject::Absent) };
        let described = described(object);
        let first = self.first_message(&found, &described, 1).await;
        let Some(message) = first.map_err(|error| unread(&stream, error))? else {
            return Ok(ErasedObject::Absent);
        };
        let description: Description =
            serde_json::from_slice(&message.payload).map_err(|error| of(&stream, error))?;
        let put_ns = message.time.unix_timestamp_nanos();
        let is_newer = until.is_some_and(|until| put_ns > until.as_nanosecond());
        if is_newer && !description.deleted {
            return Ok(ErasedObject::Newer);
        }
        if !description.nuid.is_empty() {
            self.erase_messages(&stream, &format!("$O.{bucket}.C.{}", description.nuid)).await?;
        }
        // At last, so that what is left after a failure is found again.
        self.erase_messages(&stream, &described).await?;
        Ok(ErasedObject::Erased)
    }

    /// Whether the newest event that a stream has under a subject (wildcards included) is a job's last one; `None`: it has no event there.
    ///
    /// # Errors
    /// A sentence, when the server does not answer or refuses.
    pub async fn ends_with_last(&self, stream: &str, subject: &str) -> Result<Option<bool>, String> {
        let Some(found) = self.stream_to_erase(stream).await? else { return Ok(None) };
        let last = self.last_message(&found, subject).await.map_err(|error| unread(stream, error))?;
        Ok(last.map(|message| {
            let kind = message.headers.get("ce-type").and_then(|kind| kind.as_str().parse::<Kind>().ok());
            kind.is_some_and(|kind| kind.is_last())
        }))
    }

    async fn stream_to_erase(&self, stream: &str) -> Result<Option<Stream>, String> {
        if !self.is_connected() {
            return Err(self.no_connection());
        }
        find(self, stream).await.map_err(|error| error.to_string())
    }

    async fn erase(&self, stream: &Stream, sequence: u64) -> Result<bool, String> {
        let name = &stream.cached_info().config.name;
        let error = match self.asked(name, stream.delete_message(sequence)).await? {
            Ok(erased) => return Ok(erased),
            Err(error) => error,
        };
        // Another daemon may have been quicker, or the stream's limits.
        match self.asked(name, stream.get_raw_message(sequence)).await? {
            Err(gone) if gone.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
            _ => Err(of(name, error)),
        }
    }

    async fn asked<T>(&self, stream: &str, request: impl Future<Output = T>) -> Result<T, String> {
        let named = [format!(".STREAM.MSG.GET.{stream}\""), format!(".STREAM.MSG.DELETE.{stream}\"")];
        let asked = self.unless_refused(&[&named[0], &named[1]], request).await;
        asked.map_err(|refused| refused.to_string())
    }
}

fn of(stream: &str, error: impl Display) -> String {
    format!("erasing in the stream {stream}: {error}")
}

fn unread(stream: &str, error: Unanswered) -> String {
    match error {
        Unanswered::Refused(refused) => refused.to_string(),
        Unanswered::NoAnswer(reason) => of(stream, reason),
    }
}
