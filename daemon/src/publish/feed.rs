//! The feed of published events, for the live page and the API's stream of events.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;
use uuid::Uuid;

/// Events that a listener may be behind by; a listener that is further behind lags, and reads the ledger again.
const BEHIND: usize = 512;

/// Larger bodies are not carried along: a listener reads them from the ledger. With [`BEHIND`] this bounds what the feed keeps in memory.
const LARGEST: usize = 64 << 10;

/// An event that has been published.
#[derive(Debug, Clone)]
pub struct Published {
    /// `family.name`.
    pub kind: String,
    pub source: String,
    pub job: Uuid,
    /// Of a stored event, its sequence in the job; of a partial none.
    pub sequence: Option<u64>,
    /// Its sequence in the stream; a partial has none.
    pub stream_seq: Option<u64>,
    /// Its JSON; `None`: it is large and stands in the ledger.
    pub body: Option<Bytes>,
}

/// Sends what has been published to all listeners. Clones share the listeners. It never waits: a listener that is too slow lags.
#[derive(Debug, Clone)]
pub struct Feed(broadcast::Sender<Arc<Published>>);

impl Feed {
    /// What is published from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Published>> {
        self.0.subscribe()
    }

    /// Whether it is worth making an event for [`Feed::send`].
    pub fn has_listeners(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Sends an event.
    pub fn send(&self, mut event: Published) {
        event.body = event.body.filter(|body| body.len() <= LARGEST);
        // An error means that there is no listener now.
        let _ = self.0.send(Arc::new(event));
    }
}

impl Default for Feed {
    fn default() -> Self {
        Feed(broadcast::Sender::new(BEHIND))
    }
}
