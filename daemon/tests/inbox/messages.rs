//! Messages of audio: each is one job, and acknowledged when that has ended.

use super::put;
use crate::support::{CEILING, Emulator, Hark, NatsServer, REDELIVERY, unacknowledged, wait_until, wav};
use async_nats::jetstream;
use serde_json::json;

#[tokio::test]
async fn a_message_of_audio_is_recognized_and_then_acknowledged() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let context = jetstream::new(nats.client().await);
    let pairs = [
        ("Content-Type", "audio/wav"),
        ("Hark-Name", "call.wav"),
        // The service accepts only its own language codes.
        ("Hark-Language", "en-US"),
        ("Hark-Meta-Agent-Id", "7"),
        ("Nats-Msg-Id", "call-1"),
    ];
    let sequence = put(&context, &pairs, wav(2.0, 1)).await;

    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["metadata"]["agent_id"], "7");
    assert_eq!(done.body["recording"]["name"], "call.wav");
    assert_eq!(done.body["recording"]["uri"], format!("nats:HARK_AUDIO/{sequence}"));
    assert_eq!(done.body["recording"]["message_id"], "call-1");
    wait_until("the message to be acknowledged", CEILING, async || unacknowledged(&context).await == 0).await;

    // A restarted server has forgotten the ids of acknowledged messages; the ledger still has them.
    nats.restart().await;
    let context = jetstream::new(nats.client().await);
    put(&context, &pairs, wav(2.0, 1)).await;
    wait_until("the duplicate to be acknowledged", CEILING, async || unacknowledged(&context).await == 0)
        .await;
    assert_eq!(hark.ended_jobs(1).await.len(), 1);
    assert_eq!(service.journal_of("flash").len(), 1);
}

#[tokio::test]
async fn a_message_does_not_wait_for_a_folder_full_of_recordings() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("dashscope.requests_per_minute", "600")
        .set("dashscope.concurrency", "4")
        .folder("calls")
        .inbox("inbox", "hark.audio.inbox")
        .start()
        .await;
    for number in 0..150 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(1.0, number));
    }
    wait_until("the folder to be taken in", CEILING, async || {
        hark.events().await.iter().filter(|event| event.kind() == "job.accepted").count() == 150
    })
    .await;

    put(&jetstream::new(nats.client().await), &[("Content-Type", "audio/wav")], wav(1.0, 999)).await;
    let mut before_it = 0;
    wait_until("the end of the message's job", CEILING, async || {
        let ended = hark.ended_jobs(1).await;
        before_it = ended.iter().take_while(|event| event.body["source"] != "inbox").count();
        before_it < ended.len()
    })
    .await;
    assert!(before_it < 120, "{before_it} recordings of the folder went first");
}

#[tokio::test]
async fn a_message_survives_a_kill_and_is_one_job() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "60ms"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .inbox("inbox", "hark.audio.inbox")
        .set("dashscope.ambiguous_retries", "2")
        .start()
        .await;
    let context = jetstream::new(nats.client().await);
    put(&context, &[("Content-Type", "audio/wav")], wav(4.0, 3)).await;
    hark.next_event("transcript.partial").await;
    hark.restart().await;
    let ended = hark.ended_jobs(1).await;
    assert_eq!(ended[0].kind(), "job.completed");
    assert_eq!(ended[0].body["possible_duplicate_charge"], true, "the service had it already");
    wait_until("the message to be acknowledged", REDELIVERY, async || unacknowledged(&context).await == 0)
        .await;
    assert_eq!(hark.ended_jobs(1).await.len(), 1);
}

#[tokio::test]
async fn a_backlog_of_more_bytes_than_one_request_is_taken_in() {
    let nats = NatsServer::configured("max_payload: 8388608").await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.start().await;
    hark.stop().await;
    let context = jetstream::new(nats.client().await);
    for _ in 0..6 {
        put(&context, &[("Content-Type", "audio/wav")], vec![b'x'; 7 << 20]).await;
    }
    hark.restart().await;
    assert_eq!(hark.ended_jobs(6).await.len(), 6);
    assert!(!hark.log().contains("consumer is looked up again"), "a full batch is taken for trouble");
}

#[tokio::test]
async fn messages_wait_in_the_stream_while_the_state_directory_is_full() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "arrearage,on=flash"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.set("state.max_size", "\"3MiB\"").start().await;
    let context = jetstream::new(nats.client().await);
    for number in 0..20 {
        put(&context, &[("Content-Type", "audio/wav")], wav(28.0, number)).await;
    }
    hark.not_ready("state.max_size").await;
    let spooled = async || {
        let files = std::fs::read_dir(hark.path("state").join("spool")).unwrap().flatten();
        files.map(|file| file.metadata().map_or(0, |file| file.len())).sum::<u64>()
    };
    let most = spooled().await;
    // The limit, plus the least that one request for messages may fetch: one message of the largest size.
    assert!(most < (3 << 20) + (2 << 20), "{most} bytes");
    service.set_faults(json!([])).await;
    assert_eq!(hark.ended_jobs(20).await.len(), 20);
}
