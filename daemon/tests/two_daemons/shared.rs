//! Both daemons run: each does a part of the work, and both know which messages are done.

use serde_json::Value;

use super::{claims, daemon, jobs, nothing_waits, publish, put, taken};
use crate::support::{CEILING, Emulator, NatsServer, Setup, wait_until, wav};

#[tokio::test]
async fn two_daemons_share_the_work_and_both_know_what_is_done() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "100ms"]).await;
    let narrow =
        |setup: Setup| setup.set("dashscope.concurrency", "2").set("dashscope.filetrans_concurrency", "1");
    let mut one = narrow(daemon(&nats, &service)).start().await;
    let two = narrow(daemon(&nats, &service)).start().await;
    for number in 0..24 {
        put(&nats, &format!("call-{number}"), wav(1.0, number)).await;
    }
    nothing_waits(&nats).await;
    assert_eq!(jobs(&mut one).await.len(), 24);
    assert_eq!(taken(&service, "flash"), 24);
    for hark in [&one, &two] {
        assert!(hark.log().contains("recognized"), "each has a part of the work");
    }
    let told = claims(&nats).await;
    assert_eq!(told.len(), 24);
    assert!(told.iter().all(|claim| claim["ended"] == true), "{told:?}");

    // A restarted server has forgotten the ids of acknowledged messages, and only one of the ledgers has each id.
    nats.restart().await;
    for number in 0..24 {
        put(&nats, &format!("call-{number}"), wav(1.0, number)).await;
    }
    nothing_waits(&nats).await;
    assert_eq!(jobs(&mut one).await.len(), 24);
    assert_eq!(taken(&service, "flash"), 24);
}

#[tokio::test]
async fn a_daemon_says_that_it_changes_the_consumer_that_it_shares() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let _one = daemon(&nats, &service).start().await;
    let two = daemon(&nats, &service).set("nats.ack_wait", "\"5s\"").start().await;
    wait_until("the log to say so", CEILING, async || two.log().contains("this daemon changes the consumer"))
        .await;
}

#[tokio::test]
async fn a_burst_is_shared_and_another_subject_does_not_wait_for_it() {
    const BURST: u64 = 240;
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "100ms", "--token-delay", "0ms"]).await;
    let setup =
        || daemon(&nats, &service).inbox("urgent", "hark.audio.urgent").set("dashscope.concurrency", "4");
    let mut one = setup().start().await;
    // The first daemon could take in the whole burst before the second one starts.
    for number in 0..BURST {
        put(&nats, &format!("call-{number}"), wav(0.5, number)).await;
    }
    let two = setup().start().await;
    publish(&nats, "hark.audio.urgent", "urgent", "audio/wav", wav(0.5, BURST)).await;
    nothing_waits(&nats).await;
    let all = jobs(&mut one).await;
    assert_eq!(all.len() as u64, BURST + 1);
    let done = [&one, &two].map(|hark| hark.log().matches(" job ended").count() as u64);
    assert_eq!(done.iter().sum::<u64>(), BURST + 1);
    assert!(done.iter().all(|part| part * 4 >= BURST), "shares of {BURST}: {done:?}");
    let ends = one.events().await.into_iter().filter(|event| event.kind() == "job.completed");
    let ends: Vec<Value> = ends.map(|event| event.body["source"].clone()).collect();
    let urgent = ends.iter().position(|source| source == "urgent").unwrap();
    assert!(urgent + 20 < ends.len(), "it ended as number {urgent} of {}", ends.len());
    assert_eq!(taken(&service, "flash") as u64, BURST + 1);
}
