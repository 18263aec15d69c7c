//! `priority` of sources: a new call does not wait for an archive, and the archive goes on.

use crate::support::{CEILING, Emulator, Hark, NatsServer, ReceivedEvent, wait_until, wav};

fn completed<'a>(events: &'a [ReceivedEvent], source: &str) -> Vec<&'a ReceivedEvent> {
    let of_source =
        |event: &&ReceivedEvent| event.kind() == "job.completed" && event.body["source"] == source;
    events.iter().filter(of_source).collect()
}

#[tokio::test]
async fn a_new_call_goes_before_an_archive_that_waits_for_its_turn() {
    const OLD: u64 = 40;
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        // A request every fifth of a second.
        .set("dashscope.requests_per_minute", "300")
        .folder_with("old", "priority = \"archive\"\n")
        .folder_with("calls", "priority = \"live\"\n")
        .start()
        .await;
    for number in 0..OLD {
        hark.drop_file("old", &format!("{number}.wav"), &wav(1.0, number));
    }
    wait_until("the archive to be under way", CEILING, async || {
        completed(&hark.events().await, "old").len() >= 2
    })
    .await;
    hark.drop_file("calls", "new.wav", &wav(1.0, 1_000));
    let mut before = 0;
    wait_until("the new call's end", CEILING, async || {
        let events = hark.events().await;
        let is_new = |event: &ReceivedEvent| event.body["source"] == "calls";
        let Some(accepted) = events.iter().position(is_new) else { return false };
        let Some(ended) = events.iter().position(|event| is_new(event) && event.kind() == "job.completed")
        else {
            return false;
        };
        before = completed(&events[accepted..ended], "old").len();
        true
    })
    .await;
    assert!(before <= 3, "{before} of the archive's recordings went before the call");
    hark.ended_jobs(OLD as usize + 1).await;
}
