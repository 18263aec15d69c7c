//! Events as a consumer receives them: stored events, read from the stream by sequence, and partials, which no stream keeps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use async_nats::{Client, HeaderMap};
use futures::StreamExt;
use hark_sdk::event::Event;
use jiff::Timestamp;
use serde_json::Value;

use super::event_schema::assert_fits;

/// One event as received over NATS.
#[derive(Debug, Clone)]
pub struct ReceivedEvent {
    pub subject: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// When the stream stored it, where that was read.
    pub stored: Option<Timestamp>,
}

impl ReceivedEvent {
    /// `family.name`, from `ce-type`.
    pub fn kind(&self) -> &str {
        let kind = self.headers.get("ce-type").map_or("", |kind| kind.as_str());
        kind.strip_prefix("hark.").unwrap_or(kind)
    }

    /// The job's id.
    pub fn job(&self) -> &str {
        self.body["job"].as_str().unwrap_or_default()
    }

    /// The body as the SDK reads it.
    pub fn event(&self) -> Event {
        Event::from_value(&self.kind().parse().unwrap(), self.body.clone()).unwrap()
    }

    /// Every event in a stream, in order. Read through a consumer: reading by sequence would take one request per event.
    pub async fn everything(context: &jetstream::Context, stream: &str) -> Vec<ReceivedEvent> {
        let stream = context.get_stream(stream).await.unwrap();
        let mut left = stream.cached_info().state.messages;
        let config = jetstream::consumer::pull::OrderedConfig::default();
        let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        let mut heard = Vec::new();
        while left > 0 {
            let message = messages.next().await.unwrap().unwrap();
            let mut event =
                ReceivedEvent::new(&message.subject, message.headers.clone(), &message.payload).checked();
            let published = message.info().unwrap().published.unix_timestamp_nanos();
            event.stored = Some(Timestamp::from_nanosecond(published).unwrap());
            heard.push(event);
            left -= 1;
        }
        heard
    }

    fn new(subject: &str, headers: Option<HeaderMap>, payload: &[u8]) -> ReceivedEvent {
        let body =
            serde_json::from_slice(payload).unwrap_or_else(|error| panic!("{subject}: no JSON: {error}"));
        ReceivedEvent {
            subject: subject.to_owned(),
            headers: headers.unwrap_or_default(),
            body,
            stored: None,
        }
    }

    /// Fails the test where the event does not fit its schema.
    fn checked(self) -> ReceivedEvent {
        assert_fits(self.kind(), &self.body);
        self
    }
}

/// The bodies of the events of this kind.
pub fn of_kind<'e>(events: &'e [ReceivedEvent], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event.kind() == kind).map(|event| &event.body).collect()
}

/// Collects every event received so far.
#[derive(Debug)]
pub struct Ear {
    client: Client,
    stored: Vec<ReceivedEvent>,
    next_sequence: u64,
    partials: Arc<Mutex<Vec<ReceivedEvent>>>,
    /// How many of the partials fit their schema: a task that reads them could fail no test.
    checked: AtomicUsize,
}

impl Ear {
    /// Collects partials from now on, and stored events from the beginning of the stream.
    pub async fn open(client: Client) -> Ear {
        let partials: Arc<Mutex<Vec<ReceivedEvent>>> = Arc::default();
        let mut subscription = client.subscribe("hark.event.transcript.partial.>").await.unwrap();
        client.flush().await.unwrap();
        let heard = Arc::clone(&partials);
        tokio::spawn(async move {
            while let Some(message) = subscription.next().await {
                heard.lock().unwrap().push(ReceivedEvent::new(
                    &message.subject,
                    message.headers,
                    &message.payload,
                ));
            }
        });
        Ear { client, stored: Vec::new(), next_sequence: 1, partials, checked: AtomicUsize::new(0) }
    }

    /// The stored events, in the order of the stream. If the stream or the server is away, returns the events read before.
    pub async fn stored(&mut self) -> &[ReceivedEvent] {
        let stream = jetstream::new(self.client.clone()).get_stream_no_info("HARK_EVENTS").await;
        let Ok(stream) = stream else { return &self.stored };
        while let Ok(message) =
            stream.get_first_raw_message_by_subject("hark.event.>", self.next_sequence).await
        {
            self.next_sequence = message.sequence + 1;
            self.stored.push(
                ReceivedEvent::new(&message.subject, Some(message.headers), &message.payload).checked(),
            );
        }
        &self.stored
    }

    /// The partials, in the order of arrival.
    pub fn partials(&self) -> Vec<ReceivedEvent> {
        let partials = self.partials.lock().unwrap().clone();
        let before = self.checked.swap(partials.len(), Ordering::Relaxed);
        partials.iter().skip(before).for_each(|partial| assert_fits(partial.kind(), &partial.body));
        partials
    }
}
