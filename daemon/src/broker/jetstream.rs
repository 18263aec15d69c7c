//! A connection to NATS: its JetStream, and what the server refuses on it.

use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::account::Account;
use async_nats::jetstream::{self, Context};

use super::stream::StreamError;
use super::{Refused, ServerRefusals, Unanswered};

/// The oldest nats-server that knows `Nats-Expected-Last-Subject-Sequence-Subject`.
const NEEDED: (u64, u64) = (2, 11);

/// A connection, with JetStream in the configured domain. Clones share the connection.
#[derive(Debug, Clone)]
pub struct JetStream {
    context: Context,
    refusals: ServerRefusals,
    domain: String,
}

impl JetStream {
    /// `domain` is `nats.jetstream_domain`.
    pub(super) fn new(client: Client, refusals: ServerRefusals, domain: String) -> Self {
        let context = match domain.as_str() {
            "" => jetstream::new(client),
            domain => jetstream::with_domain(client, domain),
        };
        JetStream { context, refusals, domain }
    }

    /// Sets how long to wait for each answer.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.context.set_timeout(timeout);
        self
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.client().connection_state() == State::Connected
    }

    /// Whether there is a connection, to a server that is new enough.
    ///
    /// # Errors
    /// [`StreamError::NotConnected`], [`StreamError::TooOld`].
    pub fn check_server(&self) -> Result<(), StreamError> {
        if !self.is_connected() {
            return Err(StreamError::NotConnected { reason: self.refusals.failure() });
        }
        let found = self.client().server_info().version;
        let mut parts = found.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        // A server that was built by hand has a version that is not a number; such a server counts as current.
        if version != (0, 0) && version < NEEDED {
            return Err(StreamError::TooOld { found, needed: format!("{}.{}", NEEDED.0, NEEDED.1) });
        }
        Ok(())
    }

    /// See [`ServerRefusals::unless_refused`].
    ///
    /// # Errors
    /// The server's refusal.
    pub fn unless_refused<T>(
        &self,
        named: &[&str],
        request: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Refused>> {
        self.refusals.unless_refused(named, request)
    }

    /// What the server refuses on the connection.
    pub fn refusals(&self) -> &ServerRefusals {
        &self.refusals
    }

    /// Why there is no connection.
    pub fn no_connection(&self) -> String {
        format!("NATS is not connected: {}", self.refusals.failure())
    }

    /// The account, which every JetStream has.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn account(&self) -> Result<Account, Unanswered> {
        let api = if self.domain.is_empty() { "$JS.API" } else { ".API" };
        let account = self.unless_refused(&[&format!("{api}.INFO\"")], self.query_account()).await?;
        account.map_err(|error| Unanswered::NoAnswer(error.to_string()))
    }

    /// The error of a JetStream request that got no answer, or an unusable one.
    pub(super) fn silent(&self, reason: impl ToString) -> StreamError {
        StreamError::NoJetStream { reason: reason.to_string(), remedy: self.remedy() }
    }

    /// What the operator can do when JetStream does not answer.
    pub fn remedy(&self) -> String {
        match self.domain.as_str() {
            "" => "start nats-server with JetStream (-js), or, where JetStream is that of a hub behind a leaf node, set nats.jetstream_domain".into(),
            domain => format!(
                "see whether a nats-server with JetStream has the domain {domain:?} (nats.jetstream_domain), and whether the leaf node is \
                 connected to it"
            ),
        }
    }
}

impl Deref for JetStream {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

/// For tests, which make their own client: no refusal is received on it.
impl From<Client> for JetStream {
    fn from(client: Client) -> Self {
        JetStream::new(client, ServerRefusals::new("hark"), String::new())
    }
}
