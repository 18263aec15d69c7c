//! Whoever lost a job while it stood still puts nothing among the events of the one who has it.
#![allow(unreachable_pub, dead_code, reason = "parts of two tests")]
#![allow(clippy::unwrap_used, reason = "an unwrap here is an assertion of the test")]

mod support;

use std::time::Duration;

use async_nats::jetstream;
use hark_sdk::event::Recording;
use harkd::config::Nats;
use harkd::job::ledger::Ledger;
use harkd::job::{Job, Origin, Ticket};
use harkd::publish::Fence;
use harkd::source::nats::{Claims, Standing};
use support::NatsServer;
use tempfile::TempDir;
use uuid::Uuid;

/// As much of a daemon as has a part in this.
struct Daemon {
    claims: Claims,
    fence: Fence,
    _state: TempDir,
}

async fn daemon(nats: &NatsServer) -> Daemon {
    let state = tempfile::tempdir().unwrap();
    let (ledger, client, config) =
        (Ledger::open(state.path()).unwrap(), nats.client().await, Nats::default());
    let keep = Duration::from_secs(3600);
    let claims = Claims::new(client.clone(), &config, keep, ledger, state.path()).await.unwrap();
    Daemon { fence: Fence::new(client, &config, claims.clone()), claims, _state: state }
}

#[tokio::test]
async fn a_daemon_that_lost_its_claim_puts_no_event_behind_the_new_owners() {
    let nats = NatsServer::start().await;
    let (former, owner) = (daemon(&nats).await, daemon(&nats).await);
    let recording = Recording::default();
    let mut job =
        Job::new(Uuid::now_v7(), "inbox", "default", Origin::Nothing, recording, serde_json::Map::new());
    job.ticket = Some(Ticket { key: "HARK_AUDIO.1".into(), place: "HARK_AUDIO.1@5".into() });
    assert_eq!(owner.claims.write(&job).await.unwrap(), Standing::Ours);
    assert_eq!(owner.fence.clone().step_in(job.clone()).await.unwrap().sequence, 1);

    let refused = former.fence.step_in(job.clone()).await.unwrap_err();
    assert!(refused.contains("another daemon"), "{refused}");
    let context = jetstream::new(nats.client().await);
    let stream = context.get_stream("HARK_EVENTS").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
    assert_eq!(owner.fence.step_in(job).await.unwrap().sequence, 2, "the owner goes on");
}
