//! Reads the messages of a stream: the first or the last one under a subject, or all of them in order.

use std::fmt::Display;

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind, Stream};

use super::{JetStream, Unanswered};

impl JetStream {
    /// The first message that a stream has under a subject (wildcards included) from a sequence on.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn first_message(
        &self,
        stream: &Stream,
        subject: &str,
        from: u64,
    ) -> Result<Option<StreamMessage>, Unanswered> {
        let read = stream.get_first_raw_message_by_subject(subject, from);
        match self.unless_refused(&[&named(stream)], read).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(no_answer(error)),
        }
    }

    /// The newest message that a stream has under a subject (wildcards included).
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn last_message(
        &self,
        stream: &Stream,
        subject: &str,
    ) -> Result<Option<StreamMessage>, Unanswered> {
        let read = stream.get_last_raw_message_by_subject(subject);
        match self.unless_refused(&[&named(stream)], read).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(no_answer(error)),
        }
    }

    /// A consumer of its own that reads a stream in order; the server removes it some time after the last read. `name`: of the stream.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn ordered<I>(
        &self,
        name: &str,
        stream: &Stream<I>,
        config: pull::OrderedConfig,
    ) -> Result<Consumer<pull::OrderedConfig>, Unanswered> {
        let named = format!(".CONSUMER.CREATE.{name}\"");
        self.unless_refused(&[&named], stream.create_consumer(config)).await?.map_err(no_answer)
    }
}

/// As the server's refusal names the request.
fn named(stream: &Stream) -> String {
    format!(".STREAM.MSG.GET.{}\"", stream.cached_info().config.name)
}

fn no_answer(error: impl Display) -> Unanswered {
    Unanswered::NoAnswer(error.to_string())
}
