//! A daemon that lost a job while it was stopped publishes nothing between the events of the new owner.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{CEILING, NatsServer, wait_until};
use async_nats::jetstream;
use hark_sdk::event::{Engine, Recording};
use harkd::config::Nats;
use harkd::job::job_machine::Fact;
use harkd::job::ledger::{Ledger, intake, jobs, outbox};
use harkd::job::piece_machine::{PieceFact, Policy};
use harkd::job::{Budget, Delivery, Job, Origin, PieceId, Plan, Prices, Span, Ticket};
use harkd::publish::{Feed, Outbox};
use harkd::share::{Claims, Fence};
use harkd::telemetry::metrics::Metrics;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The parts of a daemon that this test needs.
struct Daemon {
    ledger: Ledger,
    claims: Claims,
    fence: Fence,
    _state: TempDir,
}

async fn daemon(nats: &NatsServer) -> Daemon {
    let state = tempfile::tempdir().unwrap();
    let (ledger, client, config) =
        (Ledger::open(state.path()).unwrap(), nats.client().await, Nats::default());
    let keep = Duration::from_secs(3600);
    let claims = Claims::new(client.clone(), &config, keep, ledger.clone(), state.path()).await.unwrap();
    Daemon { fence: Fence::new(client, &config, claims.clone()), ledger, claims, _state: state }
}

fn job() -> Job {
    let (id, recording) = (Uuid::now_v7(), Recording::default());
    let job = Job::new(id, "inbox", "default", Origin::Nothing, recording, serde_json::Map::new());
    let ticket = Ticket { key: "HARK_AUDIO.1".into(), place: "HARK_AUDIO.1@5".into() };
    Job { ticket: Some(ticket), ..job }
}

/// A proxy to the server that holds the client's connection before the client sends a given text for the first time.
struct HeldProxy {
    url: String,
    held: Arc<Notify>,
    released: Arc<Notify>,
}

impl HeldProxy {
    async fn before(words: &'static str, nats: &NatsServer) -> HeldProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let line = HeldProxy { url, held: Arc::default(), released: Arc::default() };
        let (held, released) = (Arc::clone(&line.held), Arc::clone(&line.released));
        let server = nats.url().trim_start_matches("nats://").to_owned();
        tokio::spawn(async move {
            let (mut from_near, mut to_near) = listener.accept().await.unwrap().0.into_split();
            let (mut from_far, mut to_far) = TcpStream::connect(server).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
            let (mut buffer, mut stood) = (vec![0; 64 << 10], false);
            while let Ok(read @ 1..) = from_near.read(&mut buffer).await {
                if !stood && String::from_utf8_lossy(&buffer[..read]).contains(words) {
                    stood = true;
                    held.notify_one();
                    released.notified().await;
                }
                to_far.write_all(&buffer[..read]).await.unwrap();
            }
        });
        line
    }
}

impl Daemon {
    /// Takes in a job with three events in the outbox: accepted, submitted and the last one.
    async fn take_in_with_three_events(&self, job: &Job) {
        let mut taken = job.clone();
        self.ledger.write(move |connection| jobs::insert(connection, &mut taken, Vec::new())).await.unwrap();
        let (recording, model, reason) = (Box::default(), "model".into(), "dice".into());
        let plan =
            Plan { engine: Engine::FLASH, model, delivery: Delivery::Inline, cut: None, split: None, reason };
        let spans = vec![Span::whole(None)];
        self.ledger.advance(job.id, Fact::Prepared { recording, plan, spans }).await.unwrap();
        let policy = Policy {
            ambiguous_retries: 0,
            prices: Prices::default(),
            budget: Budget::default(),
            daemon: self.claims.daemon(),
        };
        let piece = PieceId { job: job.id, number: 1 };
        for fact in [
            PieceFact::Sending { marker: None, reserved_micro: 0 },
            PieceFact::Taken { handle: None },
            PieceFact::Restarted,
        ] {
            self.ledger.advance_piece(piece, fact, 0, &policy).await.unwrap();
        }
        assert_eq!(self.ledger.read(outbox::count).await.unwrap(), 3);
        assert!(self.claims.write(job, &[]).await.unwrap());
    }

    fn outbox(&self, client: async_nats::Client) -> Outbox {
        let (ledger, claims) = (self.ledger.clone(), self.claims.clone());
        Outbox::new(
            ledger,
            claims,
            client,
            Nats::default(),
            Metrics::new(),
            watch::channel(Ok(())).0,
            Feed::default(),
        )
    }

    async fn outbox_becomes_empty(&self) {
        wait_until("the outbox of the former owner to be empty", CEILING, async || {
            self.ledger.read(outbox::count).await.unwrap() == 0
        })
        .await;
    }
}

/// As if the message had been redelivered to `owner`, and `owner` had taken the job over.
async fn give_claim(nats: &NatsServer, job: &Job, owner: &Daemon) {
    let bucket = jetstream::new(nats.client().await).get_key_value("HARK_JOBS").await.unwrap();
    let key = &job.ticket.as_ref().unwrap().key;
    let mut claim: Value = serde_json::from_slice(&bucket.get(key).await.unwrap().unwrap()).unwrap();
    claim["owner"] = json!(owner.ledger.write(intake::own_id).await.unwrap());
    bucket.put(key, claim.to_string().into()).await.unwrap();
}

#[tokio::test]
async fn a_daemon_stopped_while_it_reads_the_stream_publishes_nothing_after_the_new_owners_event() {
    let nats = NatsServer::start().await;
    let (former, owner) = (daemon(&nats).await, daemon(&nats).await);
    let job = job();
    // Three events are in the outbox; the first is stored, and its acknowledgement was lost.
    former.take_in_with_three_events(&job).await;
    assert_eq!(former.fence.clone().append_fence_event(job.clone(), 0).await.unwrap().sequence, 1);

    let line = HeldProxy::before("STREAM.MSG.GET.HARK_EVENTS", &nats).await;
    let (client, stop) = (async_nats::connect(&line.url).await.unwrap(), CancellationToken::new());
    let running = tokio::spawn(former.outbox(client).run(stop.clone()));
    line.held.notified().await;
    give_claim(&nats, &job, &owner).await;
    assert_eq!(owner.fence.clone().append_fence_event(job.clone(), 0).await.unwrap().sequence, 2);
    line.released.notify_one();
    former.outbox_becomes_empty().await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let stream = jetstream::new(nats.client().await).get_stream("HARK_EVENTS").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2, "the new owner's event is the last one");
}

/// Stores an event that no daemon of this version writes, on a subject of the job.
async fn store_foreign(nats: &NatsServer, job: &Job, kind: &str, body: &str) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("ce-type", format!("hark.{kind}"));
    let subject = format!("hark.event.{kind}.inbox.{}", job.id);
    let context = jetstream::new(nats.client().await);
    let sent = context.publish_with_headers(subject, headers, body.to_owned().into()).await.unwrap();
    sent.await.unwrap();
}

#[tokio::test]
async fn a_takeover_continues_after_events_of_a_later_version() {
    let nats = NatsServer::start().await;
    let owner = daemon(&nats).await;
    let job = job();
    assert!(owner.claims.write(&job, &[]).await.unwrap());
    assert_eq!(owner.fence.clone().append_fence_event(job.clone(), 0).await.unwrap().sequence, 1);
    store_foreign(&nats, &job, "job.future", r#"{"sequence": 2, "time": "later"}"#).await;
    // A known kind with a value that this version does not know.
    store_foreign(&nats, &job, "job.submitted", r#"{"sequence": 3, "engine": "future"}"#).await;
    store_foreign(&nats, &job, "job.strange", "no JSON").await;
    let stored = owner.fence.append_fence_event(job, 0).await.unwrap();
    assert_eq!((stored.sequence, stored.stream_seq, stored.over), (4, 5, false));
}

#[tokio::test]
async fn a_daemon_that_lost_its_claim_publishes_nothing_after_the_new_owners_event() {
    let nats = NatsServer::start().await;
    let (former, owner) = (daemon(&nats).await, daemon(&nats).await);
    let job = job();
    assert!(owner.claims.write(&job, &[]).await.unwrap());
    assert_eq!(owner.fence.clone().append_fence_event(job.clone(), 0).await.unwrap().sequence, 1);

    let refused = former.fence.append_fence_event(job.clone(), 0).await.unwrap_err();
    assert!(refused.contains("another daemon"), "{refused}");
    let context = jetstream::new(nats.client().await);
    let stream = context.get_stream("HARK_EVENTS").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
    assert_eq!(owner.fence.append_fence_event(job, 0).await.unwrap().sequence, 2, "the owner goes on");
}

#[tokio::test]
async fn a_daemon_that_regains_its_claim_from_a_new_bucket_publishes_nothing_after_the_new_owner() {
    let nats = NatsServer::start().await;
    let (former, owner) = (daemon(&nats).await, daemon(&nats).await);
    let job = job();
    former.take_in_with_three_events(&job).await;
    give_claim(&nats, &job, &owner).await;
    for sequence in 1..=2 {
        assert_eq!(owner.fence.clone().append_fence_event(job.clone(), 0).await.unwrap().sequence, sequence);
    }
    // The bucket is deleted, and the former owner is the first to write the job into the new bucket.
    let context = jetstream::new(nats.client().await);
    context.delete_stream("KV_HARK_JOBS").await.unwrap();
    wait_until("the new bucket to have the job", CEILING, async || {
        matches!(former.claims.write(&job, &[]).await, Ok(true))
    })
    .await;

    let stop = CancellationToken::new();
    let running = tokio::spawn(former.outbox(nats.client().await).run(stop.clone()));
    former.outbox_becomes_empty().await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let stream = context.get_stream("HARK_EVENTS").await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2, "the new owner's event is the last one");
    assert!(former.ledger.find(job.id).await.unwrap().is_none(), "the job is the new owner's");
}
