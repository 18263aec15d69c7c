//! The other daemons of the same prefix, as `$SRV.PING` finds them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::service::{Identity, PING};

/// How old the list may be when it is shown.
const FRESH: Duration = Duration::from_secs(5);

/// How long the daemon waits for answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the first callers wait for answers: the page's goal is to be drawn in 200 ms. A daemon at the same broker answers
/// within a few milliseconds.
const FIRST: Duration = Duration::from_millis(100);

/// A handle; clones share the same list.
#[derive(Clone)]
pub struct OtherDaemons {
    client: Client,
    prefix: Arc<str>,
    /// This daemon's id.
    own: Arc<str>,
    list: Arc<Mutex<List>>,
}

#[derive(Default)]
struct List {
    known: BTreeSet<Identity>,
    /// When the first question went out, and the latest one.
    first: Option<Instant>,
    asked: Option<Instant>,
}

impl OtherDaemons {
    pub fn new(client: Client, prefix: &str, own: &str) -> OtherDaemons {
        OtherDaemons { client, prefix: prefix.into(), own: own.into(), list: Arc::default() }
    }

    /// The daemons that answered last. Only the first callers wait for answers. If the list is old, the daemon asks again in the background,
    /// and the next caller gets these answers.
    pub async fn known(&self) -> Vec<Identity> {
        let now = Instant::now();
        let first = {
            let mut list = self.list.lock();
            if list.asked.is_none_or(|asked| now - asked > FRESH) {
                list.asked = Some(now);
                tokio::spawn(self.clone().ask());
            }
            *list.first.get_or_insert(now)
        };
        sleep_until(first + FIRST).await;
        self.list.lock().known.iter().cloned().collect()
    }

    async fn ask(self) {
        match self.answers().await {
            Ok(found) => self.list.lock().known = found,
            // The broker is away, which the status says beside the list.
            Err(error) => debug!(%error, "the other daemons cannot be asked for"),
        }
    }

    async fn answers(&self) -> Result<BTreeSet<Identity>, async_nats::Error> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        self.client.publish_with_reply(PING, inbox, "".into()).await?;
        let (until, mut found) = (Instant::now() + PATIENCE, BTreeSet::new());
        while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
            let other = Identity::of_ping(&answer, &self.prefix);
            if let Some(other) = other.filter(|other| *other.daemon != *self.own) {
                self.list.lock().known.insert(other.clone());
                found.insert(other);
            }
        }
        Ok(found)
    }
}
