//! Two daemons share a webhook and are killed at seeded random moments, while events are stored and the receiver answers with 503, too late,
//! or not at all. Every event has to arrive, those of a job in their order, every repeat with the same bytes.
//!
//! `HARK_WEBHOOK_DELIVERIES` and `HARK_WEBHOOK_KILLS` make the run longer; `HARK_SEED` repeats its decisions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use harkd::broker::{Subjects, subject};
use serde_json::json;
use uuid::Uuid;

use super::stage::{assert_in_order, firsts};
use crate::support::{Emulator, Hark, HookReceiver, HookReply, NatsServer, number_from, wait_until};

/// The events of a job.
const EVENTS: u64 = 5;

/// Most of it is the schedule: an event that fails twice waits for 35 s.
const BOUND: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_in_its_order_whatever_is_killed() {
    let deliveries = number_from("HARK_WEBHOOK_DELIVERIES").unwrap_or(1_000);
    let kills = number_from("HARK_WEBHOOK_KILLS").unwrap_or(12);
    let seed = number_from("HARK_SEED")
        .unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64);
    println!("HARK_SEED={seed} repeats the decisions of this run");
    let begin = Instant::now();
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let receiver = HookReceiver::start().await;
    let daemon = || {
        Hark::new()
            .nats(&nats)
            .asr(&service)
            .set("nats.ack_wait", "\"1s\"")
            .set("log.level", "\"info\"")
            .webhook(
                "crm",
                &receiver.url(),
                "kinds = [\"job.accepted\", \"annotation.language\", \"job.completed\"]",
            )
    };
    let mut daemons = [daemon().start().await, daemon().start().await];

    let dice = Mutex::new(Dice(seed));
    receiver.rule(move |_| match dice.lock().unwrap().below(1_000) {
        0..4 => Some(HookReply::status(503)),
        4..8 => Some(HookReply::status(500).after(Duration::from_millis(300))),
        // Taken, and the answer comes when the daemon may be gone.
        8..60 => Some(HookReply::status(204).after(Duration::from_millis(100))),
        _ => None,
    });
    let jobs: Arc<Vec<Uuid>> = Arc::new((0..deliveries.div_ceil(EVENTS)).map(|_| Uuid::now_v7()).collect());
    let length = Duration::from_millis(1_500 * kills);
    let feed = tokio::spawn(feed(jetstream::new(nats.client().await), Arc::clone(&jobs), length));

    let mut dice = Dice(seed.wrapping_add(1));
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(500 + dice.below(2_000))).await;
        let which = usize::from(dice.below(2) == 1);
        daemons[which].kill_and_launch();
    }
    feed.await.unwrap();
    receiver.take_all();
    let wanted = jobs.len() * usize::try_from(EVENTS).unwrap();
    wait_until("every event", BOUND, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        firsts(&receiver.taken()).len() >= wanted
    })
    .await;

    let taken = receiver.taken();
    assert_in_order(&taken, &jobs, EVENTS);
    let mut bodies: HashMap<String, bytes::Bytes> = HashMap::new();
    let asked = receiver.asked();
    for asked in &asked {
        let first = bodies.entry(asked.id().to_owned()).or_insert_with(|| asked.bytes.clone());
        assert_eq!(*first, asked.bytes, "{}", asked.id());
    }
    let (repeats, failures) = (taken.len() - wanted, asked.len() - taken.len());
    println!(
        "{wanted} events, {kills} kills, {failures} refusals, {repeats} repeats, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    for daemon in &mut daemons {
        daemon.ready().await;
        assert!(daemon.stop().await.success());
    }
}

/// Stores the events of all jobs over this time, in waves of jobs whose events alternate.
async fn feed(context: jetstream::Context, jobs: Arc<Vec<Uuid>>, length: Duration) {
    const WAVE: usize = 20;
    let pause = length / u32::try_from(jobs.len().div_ceil(WAVE)).unwrap();
    let subjects = Subjects::new("hark");
    for wave in jobs.chunks(WAVE) {
        for sequence in 1..=EVENTS {
            for job in wave {
                let kind = match sequence {
                    1 => "job.accepted",
                    EVENTS => "job.completed",
                    _ => "annotation.language",
                };
                let time = "2026-11-23T08:15:04.114Z";
                let headers = subject::headers(kind, "calls", *job, &sequence.to_string(), time);
                let body =
                    json!({"job": job, "source": "calls", "sequence": sequence, "value": "en"}).to_string();
                let subject = subjects.event(kind, "calls", *job);
                context.publish_with_headers(subject, headers, body.into()).await.unwrap().await.unwrap();
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
