//! Takes deliveries in, and gathers those of an earlier session before newer ones are sent.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::{self, AckKind};
use tracing::warn;

use super::{HeldEvent, Session, answer_with};
use crate::publish::webhooks::deliveries::Event;
use crate::publish::webhooks::event_reader::source_and_job;

/// How many events are asked for at a time while the deliveries of an earlier session are gathered.
pub(super) const GATHERED: usize = 16;

/// The deliveries that an earlier session did not acknowledge, and newer events that arrived before all of these were back.
pub(super) struct Gathering {
    pub(super) events: BTreeMap<u64, HeldEvent>,
    /// The newest event that was handed out before.
    newest: u64,
    /// Whether to ask for more. The server hands out newer events until the older ones' `ack_wait` has passed, and they have to wait here.
    pub(super) eager: bool,
}

impl Gathering {
    pub(super) fn of(consumer: &Info) -> Gathering {
        Gathering { events: BTreeMap::new(), newest: consumer.delivered.stream_sequence, eager: true }
    }
}

impl Session<'_> {
    /// Takes in a delivery.
    ///
    /// # Errors
    /// Why the session has to begin anew.
    pub(super) async fn fed(&mut self, message: jetstream::Message) -> Result<(), String> {
        let (sequence, number) = match message.info() {
            Ok(info) => {
                self.delivery.view.lock().pending = info.pending;
                (info.stream_sequence, info.consumer_sequence)
            }
            Err(error) => return Err(format!("a delivery cannot be read: {error}")),
        };
        let is_next = number == self.expected;
        self.expected = number + 1;
        let Some((source, job)) = source_and_job(&message.subject) else {
            warn!(
                webhook = self.delivery.webhook.name,
                sequence, "the stream has a message that is no event; it is passed over"
            );
            answer_with(&message, AckKind::Ack).await;
            return Ok(());
        };
        if self.done.contains(&sequence) {
            answer_with(&message, AckKind::Ack).await;
        } else if let Some(gathering) = &mut self.gathering {
            let bytes = message.payload.len();
            gathering.eager = sequence <= gathering.newest;
            gathering.events.insert(sequence, Event { sequence, job, source, bytes, message });
            self.gather().await?;
            return Ok(());
        } else if !self.deliveries.renew(sequence, job, &message) {
            let bytes = message.payload.len();
            self.deliveries.push(Event { sequence, job, source, bytes, message });
        }
        match is_next {
            true => Ok(()),
            false => Err("a delivery of the consumer got lost on its way".into()),
        }
    }

    /// Ends the gathering when everything that was handed out is here.
    pub(super) async fn gather(&mut self) -> Result<(), String> {
        let state = self.reader.state().await?.consumer;
        let is_complete = |gathering: &mut Gathering| {
            state.num_ack_pending <= gathering.events.len()
                && state.delivered.consumer_sequence < self.expected
        };
        if let Some(gathering) = self.gathering.take_if(is_complete) {
            gathering.events.into_values().for_each(|event| self.deliveries.push(event));
        }
        Ok(())
    }
}
