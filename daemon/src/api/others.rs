//! The other daemons of the same prefix, as `$SRV.PING` finds them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::service::{Identity, PING};

/// How old the list may be when it is shown.
const FRESH: Duration = Duration::from_secs(5);

/// How long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A handle; clones share the same list.
#[derive(Clone)]
pub struct Others {
    client: Client,
    prefix: Arc<str>,
    /// This daemon's id.
    own: Arc<str>,
    list: Arc<Mutex<List>>,
    /// Set when the first question was answered.
    first: Arc<OnceCell<()>>,
}

#[derive(Default)]
struct List {
    known: Vec<Identity>,
    asked: Option<Instant>,
}

impl Others {
    pub fn new(client: Client, prefix: &str, own: &str) -> Others {
        Others { client, prefix: prefix.into(), own: own.into(), list: Arc::default(), first: Arc::default() }
    }

    /// The daemons that answered last. Only the first callers wait for answers: if the list is old, a question goes out whose answers the next
    /// caller gets.
    pub async fn known(&self) -> Vec<Identity> {
        let first = self.first.get_or_init(async || {
            self.clone().ask().await;
            self.list.lock().asked = Some(Instant::now());
        });
        first.await;
        let mut list = self.list.lock();
        if list.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            list.asked = Some(Instant::now());
            tokio::spawn(self.clone().ask());
        }
        list.known.clone()
    }

    async fn ask(self) {
        match self.answers().await {
            Ok(found) => self.list.lock().known = found.into_iter().collect(),
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
            found.extend(other.filter(|other| *other.daemon != *self.own));
        }
        Ok(found)
    }
}
