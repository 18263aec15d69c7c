//! The endpoints of the service: a table of names and the functions that answer them.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::steer::{Refusal, Steer, forget, jobs, plugins, sources, webhooks};

/// Reads a request's JSON, carries it out and writes the answer's.
pub(super) type Handler =
    Arc<dyn Fn(Steer, Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> + Send + Sync>;

/// Every endpoint, by the end of its subject.
pub(super) fn endpoints() -> Vec<(&'static str, Handler)> {
    vec![
        ("jobs.list", handler(jobs::list)),
        ("jobs.show", handler(jobs::show)),
        ("jobs.retry", handler(jobs::retry)),
        ("jobs.cancel", handler(jobs::cancel)),
        ("jobs.forget", handler(forget::forget)),
        ("sources.list", handler(sources::list)),
        ("sources.pause", handler(sources::pause)),
        ("sources.resume", handler(sources::resume)),
        ("sources.rescan", handler(sources::rescan)),
        ("plugins.enable", handler(plugins::enable)),
        ("webhooks.list", handler(webhooks::list)),
        ("webhooks.test", handler(webhooks::test)),
        ("webhooks.retry", handler(webhooks::retry)),
        ("webhooks.resume", handler(webhooks::resume)),
    ]
}

fn handler<Q, A, F>(carry_out: impl Fn(Steer, Q) -> F + Copy + Send + Sync + 'static) -> Handler
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize,
    F: Future<Output = Result<A, Refusal>> + Send + 'static,
{
    Arc::new(move |steer, body| {
        let request = read::<Q>(&body);
        async move {
            let answer = carry_out(steer, request?).await?;
            serde_json::to_vec(&answer).map(Bytes::from).map_err(|error| Refusal::NotNow(error.to_string()))
        }
        .boxed()
    })
}

/// A request without a body is an empty object.
fn read<Q: DeserializeOwned>(body: &[u8]) -> Result<Q, Refusal> {
    let body = if body.is_empty() { &b"{}"[..] } else { body };
    serde_json::from_slice(body).map_err(|error| Refusal::Bad(format!("the request cannot be read: {error}")))
}
