//! An operator cancels jobs: one last event, at once, which says what was paid; nothing more is sent, and the source is settled.

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, REDELIVERY, all_acknowledged, publish, wait_until, wav,
};
use serde_json::{Value, json};

async fn cancel(hark: &Hark, job: &str) -> Value {
    hark.json(&["jobs", "cancel", job]).await
}

#[tokio::test]
async fn a_stream_under_way_is_dropped_and_the_file_counts_as_failed() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "60s"]).await;
    let setup = Hark::new().nats(&nats).asr(&service);
    let failed = setup.path("failed");
    let lines = format!(
        "when_done = \"move\"\ndone_directory = {:?}\nfailed_directory = {failed:?}",
        setup.path("done")
    );
    let mut hark = setup.folder_with("calls", &lines).start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let job = hark.next_event("job.submitted").await.job().to_owned();

    let answer = cancel(&hark, &job).await;
    assert_eq!(
        (answer["state"].as_str(), answer["error"]["code"].as_str()),
        (Some("canceled"), Some("Canceled"))
    );
    let end = hark.next_event("job.failed").await;
    let error = &end.body["error"];
    assert_eq!((&error["code"], &error["blame"]), (&"Canceled".into(), &"operator".into()));
    assert!(error["message"].as_str().unwrap().contains("one request was under way"), "{error}");
    wait_until("the file to be moved", CEILING, async || failed.join("a.wav").exists()).await;

    // The place of the request is free: the next recording is asked for while the service still has the old one's text.
    let (code, _, words) = hark.run(&["jobs", "cancel", &job]).await;
    assert!(code == 1 && words.contains("has ended"), "{words}");
    let (code, _, words) = hark.run(&["jobs", "cancel", &uuid::Uuid::now_v7().to_string()]).await;
    assert!(code == 1 && words.contains("no running daemon has job"), "{words}");
    let (code, ..) = hark.run(&["jobs", "cancel", "x"]).await;
    assert_eq!(code, 64);
    let events = hark.events_of(&job).await;
    assert_eq!(events.iter().filter(|event| event.kind() == "job.failed").count(), 1);
    let (code, out, _) = hark.run(&["jobs", "list", "--state", "canceled", "--json"]).await;
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, list["jobs"][0]["job"].as_str()), (0, Some(job.as_str())), "{out}");
    let (_, table, _) = hark.run(&["jobs"]).await;
    assert!(table.starts_with("JOB ") && table.contains("canceled") && table.contains("a.wav"), "{table}");
    let (_, csv, _) = hark.run(&["jobs", "list", "--csv"]).await;
    assert!(csv.starts_with("job,source,state,") && csv.contains(",canceled,"), "{csv}");
    let (code, shown, words) = hark.run(&["jobs", "show", &job]).await;
    assert!(code == 0 && shown.contains("canceled the job"), "{code} {shown} {words}");
    let (code, _, words) = hark.run(&["jobs", "list", "--state", "gone"]).await;
    assert!(code == 64 && words.contains("one of accepted"), "{words}");
}

#[tokio::test]
async fn a_task_that_waits_at_the_service_is_canceled_there_and_costs_nothing() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "600s"]).await;
    let setup = Hark::new()
        .nats(&nats)
        .asr(&service)
        .lines("[[route]]\nname = \"default\"\nengine = \"filetrans\"\n");
    let mut hark = setup.set("budget.daily_usd", "1.0").folder("calls").start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let job = hark.next_event("job.submitted").await.job().to_owned();
    wait_until("the task to be followed", CEILING, async || !service.journal_of("query").is_empty()).await;
    cancel(&hark, &job).await;
    let end = hark.next_event("job.failed").await;
    assert_eq!((&end.body["billed_seconds"], &end.body["cost_usd"]), (&json!(0), &json!(0.0)));
    assert!(!end.body["error"]["message"].as_str().unwrap().contains("under way"), "{}", end.body);
    assert!(!service.journal_of("cancel").is_empty());
}

#[tokio::test]
async fn a_message_is_acknowledged_and_a_kill_right_after_changes_nothing() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "60s"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.set("nats.ack_wait", "\"2s\"").start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let mut jobs = Vec::new();
    for seed in 1..=3 {
        publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], wav(1.0, seed)).await;
        let job = hark.next_event("job.submitted").await.job().to_owned();
        cancel(&hark, &job).await;
        hark.kill();
        hark.restart().await;
        jobs.push(job);
    }
    hark.ended_jobs(3).await;
    all_acknowledged(&nats, REDELIVERY).await;
    for job in jobs {
        let events = hark.events_of(&job).await;
        let ends: Vec<&str> = events
            .iter()
            .filter_map(|event| event.body["error"]["code"].as_str().filter(|_| event.kind() == "job.failed"))
            .collect();
        assert_eq!(ends, ["Canceled"]);
    }
    let sent = service.journal_of("flash").len();
    assert_eq!(sent, 3, "nothing is asked for again");
}

#[tokio::test]
async fn a_daemon_that_takes_over_ends_what_was_canceled() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "60s"]).await;
    let daemon = || {
        let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
        setup.set("nats.ack_wait", "\"2s\"")
    };
    let mut one = daemon().start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], wav(1.0, 1)).await;
    let job = one.next_event("job.submitted").await.job().to_owned();
    // The stream takes no event: the cancel is on disk and in the claim, and its event is not stored.
    let events = context.get_stream("HARK_EVENTS").await.unwrap();
    let config = events.cached_info().config.clone();
    let sealed = async_nats::jetstream::stream::Config { max_message_size: 10, ..config.clone() };
    context.update_stream(sealed).await.unwrap();
    cancel(&one, &job).await;
    one.kill();
    context.update_stream(config).await.unwrap();
    let mut two = daemon().start().await;
    let end = two.next_event("job.failed").await;
    assert_eq!((end.job(), &end.body["error"]["code"]), (job.as_str(), &"Canceled".into()));
    all_acknowledged(&nats, REDELIVERY).await;
    let sent = service.journal_of("flash").len();
    assert_eq!(sent, 1, "nothing is asked for again");
}
