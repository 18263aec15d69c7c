//! The service keeps the result of a task for a day. The tests shorten the day by setting the times in the ledger back.

use std::path::Path;
use std::time::Duration;

use crate::support::{CEILING, Emulator, Hark, NatsServer, ReceivedEvent, Setup, wait_until, wav};
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};

fn setup(nats: &NatsServer, service: &Emulator) -> Setup {
    let route = "route = \"long\"\n";
    let long = "[[route]]\nname = \"long\"\nengine = \"filetrans\"\n";
    Hark::new().nats(nats).asr(service).folder_with("archive", route).lines(long)
}

/// Changes the state directory of a stopped daemon as if the daemon had ended so long ago.
fn set_back(state: &Path, ago: Duration) {
    let then = Timestamp::now() - SignedDuration::try_from(ago).unwrap();
    let ledger = Connection::open(state.join("ledger.sqlite3")).unwrap();
    ledger.execute("UPDATE attempt SET began = ?1", [then.as_millisecond()]).unwrap();
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

fn retries(events: &[ReceivedEvent], code: &str) -> usize {
    events
        .iter()
        .filter(|event| event.body["error"]["code"] == code && event.kind() == "job.retrying")
        .count()
}

#[tokio::test]
async fn a_daemon_that_was_down_for_too_long_logs_what_it_lost() {
    tokio::join!(down_for_31_hours(0), down_for_31_hours(1));
}

async fn down_for_31_hours(ambiguous_retries: usize) {
    const KEPT: SignedDuration = SignedDuration::from_secs(4);
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "2s", "--result-ttl", "4s"]).await;
    let mut hark = setup(&nats, &service)
        .set("dashscope.ambiguous_retries", &ambiguous_retries.to_string())
        .start()
        .await;
    service.set_faults(json!([{"kind": "task_stuck", "next": 1}])).await;
    for number in 0..3 {
        hark.drop_file("archive", &format!("{number}.wav"), &wav(2.0, number));
        hark.next_event("job.submitted").await;
    }
    hark.kill();
    assert_eq!(service.journal_of("task").len(), 0, "nothing had ended");
    wait_until("two results to be deleted", CEILING, async || {
        let journal = service.journal();
        let ended = journal.iter().filter(|line| line["kind"] == "task");
        let times: Vec<Timestamp> =
            ended.map(|line| line["time"].as_str().unwrap().parse().unwrap()).collect();
        times.len() == 2 && times.iter().all(|ended| Timestamp::now() > *ended + KEPT)
    })
    .await;
    set_back(&hark.path("state"), hours(31));
    hark.restart().await;
    for end in hark.ended_jobs(2).await {
        let kind = if ambiguous_retries == 0 { "job.failed" } else { "job.completed" };
        assert_eq!(end.kind(), kind, "{}", end.body);
        assert_eq!(end.body["possible_duplicate_charge"] == true, ambiguous_retries > 0, "{}", end.body);
        assert!(ambiguous_retries > 0 || end.body["error"]["code"] == "TaskUnknown", "{}", end.body);
    }
    assert_eq!(service.journal_of("submit").len(), 3 + 2 * ambiguous_retries);
    let log = hark.log();
    let lost: Vec<&str> = log.lines().filter(|line| line.contains("the result of a task is lost")).collect();
    assert_eq!(lost.len(), 2, "once a job");
    assert!(
        lost.iter().all(|line| line.contains("recording=\"file:///") && line.contains("task=")),
        "{lost:?}"
    );
    let (_, metrics) = hark.get("/metrics").await.unwrap();
    assert!(metrics.contains("hark_recognize_results_lost_total 2"), "{metrics}");
}

#[tokio::test]
async fn a_result_that_does_not_come_is_warned_of_in_time_and_asked_for_as_long_as_it_is_there() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "100ms", "--fault", "status,on=result"]).await;
    let mut hark = setup(&nats, &service).start().await;
    hark.drop_file("archive", "a.wav", &wav(2.0, 1));
    let job = hark.next_event("job.submitted").await.job().to_owned();
    // More often than the daemon asks again after the answer that a result is gone.
    wait_until("many tries", CEILING, async || service.journal_of("result").len() > 5).await;
    assert_eq!(hark.events_of(&job).await.len(), 2, "nothing to be told of it yet");
    hark.kill();
    set_back(&hark.path("state"), hours(21));
    hark.restart().await;
    let warning = hark.next_event("job.retrying").await;
    assert_eq!(
        (&warning.body["error"]["code"], &warning.body["error"]["blame"]),
        (&json!("ResultExpiring"), &json!("service"))
    );
    let message = warning.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("21 h") && message.contains("in 2 h") && message.contains("500"), "{message}");
    wait_until("the metric", CEILING, async || {
        let (_, metrics) = hark.get("/metrics").await.unwrap();
        metrics.contains("hark_recognize_results_expiring 1")
    })
    .await;
    // After a restart the daemon finds the warning in the ledger and does not repeat it.
    let before = service.journal_of("result").len();
    hark.restart().await;
    wait_until("the result to be asked for again", CEILING, async || {
        service.journal_of("result").len() > before + 1
    })
    .await;
    service.set_faults(json!([])).await;
    let end = hark.ended_jobs(1).await.remove(0);
    assert_eq!(end.kind(), "job.completed");
    assert_eq!(end.body["possible_duplicate_charge"], json!(null), "{}", end.body);
    assert_eq!(retries(&hark.events_of(&job).await, "ResultExpiring"), 1);
    assert_eq!(service.journal_of("submit").len(), 1);
    let (_, metrics) = hark.get("/metrics").await.unwrap();
    assert!(metrics.contains("hark_recognize_results_expiring 0"), "{metrics}");
}

#[tokio::test]
async fn an_answer_that_a_result_is_gone_is_confirmed_before_it_is_paid_for_again() {
    let gone = |status: u16| json!({"kind": "result_expired", "status": status});
    let unknown = json!({"kind": "task_unknown", "on": ["query"]});
    let unreadable = json!({"kind": "garbage", "on": ["result"]});
    // An answer about a result is needed more than eight times, because the answers have to span 15 s, which are 150 intervals here.
    tokio::join!(
        is_repeated_after(9, gone(404), false),
        is_repeated_after(14, gone(404), true),
        is_repeated_after(14, gone(403), true),
        is_repeated_after(2, unknown.clone(), false),
        is_repeated_after(3, unknown, true),
        is_repeated_after(9, unreadable.clone(), false),
        is_repeated_after(14, unreadable, true),
    );
}

async fn is_repeated_after(times: usize, mut fault: Value, repeated: bool) {
    let nats = NatsServer::start().await;
    fault["next"] = json!(times);
    let service = Emulator::start(&["--task-delay", "50ms"]).await;
    service.set_faults(json!([fault])).await;
    let mut hark = setup(&nats, &service).start().await;
    hark.drop_file("archive", "a.wav", &wav(2.0, 1));
    let end = hark.ended_jobs(1).await.remove(0);
    assert_eq!(end.kind(), "job.completed", "{fault}");
    assert_eq!(end.body["possible_duplicate_charge"] == true, repeated, "{fault}: {}", end.body);
    assert_eq!(service.journal_of("submit").len(), 1 + usize::from(repeated), "{fault}");
}

#[tokio::test]
async fn the_cost_of_a_task_is_reported_though_the_service_forgot_it_before_its_result_came() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "50ms", "--fault", "status,on=result"]).await;
    let mut hark = setup(&nats, &service).set("dashscope.ambiguous_retries", "0").start().await;
    hark.drop_file("archive", "a.wav", &wav(2.0, 1));
    wait_until("a result that does not come", CEILING, async || !service.journal_of("result").is_empty())
        .await;
    service.set_faults(json!([{"kind": "task_unknown", "on": ["query"]}])).await;
    let end = hark.ended_jobs(1).await.remove(0);
    assert_eq!((end.kind(), &end.body["error"]["code"]), ("job.failed", &json!("TaskUnknown")));
    assert_eq!(end.body["billed_seconds"], json!(2), "{}", end.body);
}
