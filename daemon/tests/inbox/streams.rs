//! Streams, subjects and sources that change under the messages.

use super::put;
use crate::support::{
    CEILING, Emulator, Hark, NatsServer, REDELIVERY, all_acknowledged, publish, unacknowledged, wait_until,
    wav,
};
use async_nats::jetstream;
use futures::StreamExt;
use serde_json::json;

#[tokio::test]
async fn a_source_whose_subject_was_changed_receives_from_the_new_one() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    hark.stop().await;
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    std::fs::write(hark.config_file(), config.replace("hark.audio.inbox", "hark.audio.other")).unwrap();
    hark.restart().await;
    let context = jetstream::new(nats.client().await);
    let headers = [("Content-Type", "audio/wav"), ("Hark-Name", "other.wav")];
    publish(&context, "hark.audio.other", &headers, wav(1.0, 1)).await;
    let done = hark.next_event("job.completed").await;
    assert_eq!(done.body["recording"]["name"], "other.wav");
}

#[tokio::test]
async fn a_message_that_came_to_two_sources_is_one_job() {
    const IDS: usize = 100;
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let context = jetstream::new(nats.client().await);
    nats.forgetful_audio_stream().await;
    for subject in ["hark.audio.inbox", "hark.audio.other"] {
        for id in 0..IDS {
            let name = format!("call-{id}");
            wait_until("the server to forget the id", CEILING, async || {
                let headers = [("Content-Type", "audio/wav"), ("Nats-Msg-Id", &name)];
                !publish(&context, subject, &headers, wav(0.5, id as u64)).await.duplicate
            })
            .await;
        }
    }
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.inbox("other", "hark.audio.other").start().await;
    all_acknowledged(&nats, REDELIVERY).await;
    let ended = hark.ended_jobs(IDS).await;
    assert!(ended.iter().all(|event| event.kind() == "job.completed"), "{:?}", ended[0].body);
    assert!(ended.iter().all(|event| event.body["possible_duplicate_charge"].is_null()));
}

#[tokio::test]
async fn jobs_of_a_deleted_stream_acknowledge_nothing_in_the_next_one() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "6s"]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .inbox("inbox", "hark.audio.inbox")
        .lines("[[route]]\nname = \"default\"\nengine = \"filetrans\"\n")
        .start()
        .await;
    let context = jetstream::new(nats.client().await);
    let count = 4;
    for number in 0..count {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, number)).await;
    }
    for _ in 0..count {
        hark.next_event("job.submitted").await;
    }
    context.delete_stream("HARK_AUDIO").await.unwrap();
    wait_until("the stream to be made again", CEILING, async || {
        context.get_stream("HARK_AUDIO").await.is_ok()
    })
    .await;
    // The new messages have the sequence numbers of the old ones, and their tasks still run when the old jobs end.
    service.set_faults(json!([{"kind": "task_stuck"}])).await;
    for number in 0..count {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 100 + number)).await;
    }
    hark.ended_jobs(count as usize).await;
    for _ in 0..count {
        hark.next_event("job.submitted").await;
    }
    assert_eq!(unacknowledged(&context).await, count, "none is acknowledged before its job's last event");
}

#[tokio::test]
async fn jobs_of_a_broker_that_lost_its_streams_end_although_new_messages_have_their_keys() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "6s"]).await;
    let lines = "[[route]]\nname = \"default\"\nengine = \"filetrans\"\n";
    let setup = Hark::new().nats(&nats).asr(&service).lines(lines).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.start().await;
    let context = jetstream::new(nats.client().await);
    let count = 4;
    for number in 0..count as u64 {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, number)).await;
    }
    for _ in 0..count {
        hark.next_event("job.submitted").await;
    }
    for stream in ["HARK_AUDIO", "HARK_EVENTS", "KV_HARK_JOBS"] {
        context.delete_stream(stream).await.unwrap();
    }
    wait_until("the stream to be made again", CEILING, async || {
        context.get_stream("HARK_AUDIO").await.is_ok()
    })
    .await;
    // The new messages have the sequence numbers of the old ones, whose tasks still run.
    for number in 0..count as u64 {
        put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 100 + number)).await;
    }
    wait_until("the end of all jobs, old and new", CEILING, async || {
        let Ok(events) = context.get_stream_no_info("HARK_EVENTS").await else { return false };
        match events.info_with_subjects("hark.event.job.completed.>").await {
            Ok(ended) => ended.count().await == count * 2,
            Err(_) => false,
        }
    })
    .await;
    wait_until("every message to be acknowledged", CEILING, async || unacknowledged(&context).await == 0)
        .await;
}

#[tokio::test]
async fn a_renamed_source_acknowledges_the_messages_that_the_old_one_took_in() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "3s"]).await;
    let lines = "[[route]]\nname = \"default\"\nengine = \"filetrans\"\n";
    let setup = Hark::new().nats(&nats).asr(&service).lines(lines).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.start().await;
    let context = jetstream::new(nats.client().await);
    put(&context, &[("Content-Type", "audio/wav")], wav(1.0, 1)).await;
    hark.next_event("job.submitted").await;
    hark.kill();
    context.get_stream("HARK_AUDIO").await.unwrap().delete_consumer("hark_inbox").await.unwrap();
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    std::fs::write(hark.config_file(), config.replace("name = \"inbox\"", "name = \"calls\"")).unwrap();
    hark.restart().await;
    hark.ended_jobs(1).await;
    wait_until("the message to be acknowledged", REDELIVERY, async || unacknowledged(&context).await == 0)
        .await;
}
