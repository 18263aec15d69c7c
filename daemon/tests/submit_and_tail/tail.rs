//! `harkd tail`: events as they come.

use super::{JOB, Stage, common, completed, transcript, with};
use crate::support::{CEILING, NatsServer, wait_until};
use serde_json::{Value, json};

#[tokio::test]
async fn tail_shows_stored_events_and_partials() {
    let stage = Stage::with_streams().await;
    let mut tail = stage.start(&["tail"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    let partial = with(common("m"), json!({"revision": 1, "channel": 0, "begin_ms": 0, "text": "hello"}));
    stage.publish("transcript.partial", 1, partial).await;
    wait_until("the partial", CEILING, async || tail.log().contains("…         hello")).await;
    stage.publish("transcript.final", 1, transcript("m", "hello there")).await;
    wait_until("the final", CEILING, async || tail.log().contains("final     hello there (en, happy)")).await;
    assert!(!tail.log().contains('\x1b'), "no colours without a terminal");
    assert!(tail.is_running());
}

#[tokio::test]
async fn tail_filters_and_prints_json_from_the_beginning() {
    let stage = Stage::with_streams().await;
    stage.publish("transcript.final", 1, transcript("m", "hello there")).await;
    stage.publish("job.completed", 2, completed("m")).await;
    let tail = stage.start(&["tail", "--all", "--json", "--kind", "job", "--source", "inbox", "--job", JOB]);
    wait_until("the last event", CEILING, async || tail.log().contains("hark.job.completed")).await;
    assert!(!tail.log().contains("hello there"));
    let log = tail.log();
    let line: Value = serde_json::from_str(log.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert_eq!(line["subject"], format!("hark.event.job.completed.inbox.{JOB}"));
    assert_eq!(line["id"], format!("{JOB}:2"));
    assert_eq!(line["billed_seconds"], 1);
}

#[tokio::test]
async fn tail_reports_a_source_that_is_not_in_the_config() {
    let stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--source", "inbox", "--source", "inbax"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    assert!(tail.log().contains("no source \"inbax\", it has inbox"), "{}", tail.log());
    assert!(!tail.log().contains("no source \"inbox\""), "{}", tail.log());
}

#[tokio::test]
async fn tail_says_of_a_job_that_is_over_or_not_there_that_it_waits() {
    const OTHER: &str = "01936f4e-5f0a-7c3e-8c1d-000000000000";
    let stage = Stage::with_streams().await;
    stage.publish("job.completed", 1, completed("m")).await;
    let tail = stage.start(&["tail", "--job", JOB, "--job", OTHER]);
    wait_until("both to be said", CEILING, async || {
        let log = tail.log();
        log.contains(&format!("job {JOB} ended with job.completed at "))
            && log.contains("--all shows its events")
            && log.contains(&format!("job {OTHER}: the stream HARK_EVENTS has no event of it"))
    })
    .await;
    let output = stage.run(&["tail", "--job", "call.wav"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a job's id looks like"), "{output:?}");
}

#[tokio::test]
async fn tail_shows_what_a_later_daemon_says() {
    let stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--all"]);
    stage.publish("job.future", 1, with(common("m"), json!({"of_the_future": 1}))).await;
    stage
        .publish("transcript.final", 2, with(transcript("m", "hello there"), json!({"of_the_future": 1})))
        .await;
    wait_until("both events", CEILING, async || {
        tail.log().contains("job.future {") && tail.log().contains("hello there")
    })
    .await;
}

#[tokio::test]
async fn tail_goes_on_where_it_stopped_when_the_server_comes_back() {
    let mut stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--json"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    stage.publish("transcript.final", 1, transcript("m", "before")).await;
    wait_until("the first event", CEILING, async || tail.log().contains("before")).await;
    stage.nats.restart().await;
    stage.publish("job.completed", 2, completed("m")).await;
    wait_until("the event after the restart", CEILING, async || tail.log().contains("hark.job.completed"))
        .await;
    assert_eq!(tail.log().matches("hark.transcript.final").count(), 1, "nothing twice");
}

#[tokio::test]
async fn tail_waits_for_a_stream_that_is_not_there_yet() {
    let stage = Stage::on_bare(NatsServer::start().await);
    let tail = stage.start(&["tail", "--json"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    stage.create_streams().await;
    stage.publish("job.completed", 1, completed("m")).await;
    wait_until("the first event", CEILING, async || tail.log().contains("hark.job.completed")).await;
}

#[tokio::test]
async fn tail_follows_a_stream_that_was_deleted_and_made_again() {
    let stage = Stage::with_streams().await;
    let tail = stage.start(&["tail", "--json"]);
    wait_until("tail to follow", CEILING, async || tail.log().contains("following")).await;
    for sequence in 1..=3 {
        stage.publish("transcript.final", sequence, transcript("m", &format!("old {sequence}"))).await;
    }
    wait_until("the old events", CEILING, async || tail.log().contains("old 3")).await;
    for stream in ["HARK_EVENTS", "HARK_AUDIO"] {
        stage.jetstream().await.delete_stream(stream).await.unwrap();
    }
    stage.create_streams().await;
    stage.publish("transcript.final", 1, transcript("m", "new 1")).await;
    wait_until("the new event", CEILING, async || tail.log().contains("new 1")).await;
    stage.publish("job.completed", 2, completed("m")).await;
    wait_until("the next event", CEILING, async || tail.log().contains("hark.job.completed")).await;
    assert_eq!(tail.log().matches("hark.transcript.final").count(), 4, "nothing twice");
}

#[tokio::test]
async fn tail_lists_the_kinds_that_there_are() {
    let stage = Stage::on_bare(NatsServer::start().await);
    let output = stage.run(&["tail", "--kind", "transcripts"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("transcript.final"), "{output:?}");
}
