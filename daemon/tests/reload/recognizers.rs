//! Routes, recognizers and budgets change: what has not cost anything is planned anew, what may have cost goes on as it was planned.

use std::time::{Duration, Instant};

use super::{events_of_recording, only};
use crate::support::{
    CEILING, Emulator, Hark, NatsServer, Reply, SpeechServer, free_address, wait_until, wav,
};

#[tokio::test]
async fn a_raised_budget_releases_the_jobs_that_wait_for_the_next_day() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    // Ten seconds cost 350 millionths of a dollar.
    let mut hark = setup.set("budget.daily_usd", "0.0008").start().await;
    for number in 0..5 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(10.0, number));
    }
    wait_until("two jobs to end and three to wait", CEILING, async || {
        let events = hark.events().await;
        let count = |kind: &str| events.iter().filter(|event| event.kind() == kind).count();
        (count("job.completed"), count("job.retrying")) == (2, 3)
    })
    .await;
    hark.reload(|text| text.replace("daily_usd = 0.0008", "daily_usd = 0.00105")).await;
    hark.ended_jobs(3).await;
    let begun = Instant::now();
    hark.reload(|text| text.replace("daily_usd = 0.00105", "daily_usd = 0.0")).await;
    hark.ended_jobs(5).await;
    assert!(begun.elapsed() < CEILING, "they do not wait for their next look");
    let events = hark.events().await;
    assert_eq!(events.iter().filter(|event| event.kind() == "job.retrying").count(), 3, "each says it once");
}

fn server_at(url: &str, more: &str) -> String {
    format!(
        "[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"whisper-1\"\n{more}\n"
    )
}

fn route_to(engine: &str) -> String {
    format!("[[route]]\nname = \"default\"\nengine = \"{engine}\"\n")
}

fn reply() -> Reply {
    Reply::verbose("english", "Good morning.", &[(0.0, 0.9, "Good morning.")])
}

#[tokio::test]
async fn jobs_that_wait_are_planned_anew_and_one_under_way_ends_where_it_is() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let server = SpeechServer::start(reply().after(Duration::from_secs(3))).await;
    let one_at_a_time = server_at(&server.url(), "concurrency = 1");
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.lines(&(one_at_a_time + &route_to("gpu"))).start().await;
    hark.drop_file("calls", "under way.wav", &wav(1.0, 1));
    wait_until("the server to be asked", CEILING, async || server.asked().len() == 1).await;
    for number in 2..5 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(1.0, number));
    }
    wait_until("the others to wait", CEILING, async || {
        let (_, page) = hark.get("/metrics").await.unwrap();
        page.contains("hark_source_accepted_total{source=\"calls\"} 4")
    })
    .await;
    let log = hark.reload(|text| text.replace("engine = \"gpu\"", "engine = \"flash\"")).await;
    assert!(log.contains("route default"), "{log}");
    for number in 2..5 {
        let events = events_of_recording(&mut hark, &format!("{number}.wav")).await;
        assert_eq!(only(&events, "transcript.final").body["engine"], "flash");
    }
    let events = events_of_recording(&mut hark, "under way.wav").await;
    assert_eq!(only(&events, "transcript.final").body["engine"], "gpu");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_at_its_new_address_at_once() {
    let nats = NatsServer::start().await;
    let server = SpeechServer::start(reply()).await;
    let away = format!("http://{}/v1", free_address());
    let setup = Hark::new().nats(&nats).without("DASHSCOPE_API_KEY").folder("calls");
    let mut hark = setup.lines(&(server_at(&away, "") + &route_to("gpu"))).start().await;
    for number in 0..8 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(1.0, number));
    }
    hark.next_event("job.retrying").await;
    let begun = Instant::now();
    let log = hark.reload(|text| text.replace(&away, &server.url())).await;
    assert!(log.contains("recognizer gpu"), "{log}");
    hark.ended_jobs(8).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_recognizer_is_added_with_its_route_and_both_go_while_a_job_is_under_way() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let server = SpeechServer::start(reply().after(Duration::from_secs(2))).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.start().await;
    let before = std::fs::read_to_string(hark.config_file()).unwrap();
    let one_at_a_time =
        server_at(&server.url(), "concurrency = 1") + &route_to("gpu").replace("default", "private");
    hark.reload(|text| text.replace("settle =", "route = \"private\"\nsettle =") + &one_at_a_time).await;
    hark.ready().await;
    for number in 0..2 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(1.0, number));
    }
    wait_until("the server to be asked", CEILING, async || server.asked().len() == 1).await;
    let log = hark.reload(|_| before).await;
    assert!(log.contains("route private (removed)") && log.contains("recognizer gpu (removed)"), "{log}");
    for number in 0..2 {
        let events = events_of_recording(&mut hark, &format!("{number}.wav")).await;
        assert_eq!(
            only(&events, "transcript.final").body["engine"],
            "gpu",
            "audio goes where its route said"
        );
    }
}

#[tokio::test]
async fn a_task_is_followed_where_it_was_submitted_after_the_address_has_changed() {
    let nats = NatsServer::start().await;
    let (first, second) = (Emulator::start(&["--task-delay", "3s"]).await, Emulator::start(&[]).await);
    let setup = Hark::new().nats(&nats).asr(&first).folder("calls").lines(&route_to("filetrans"));
    let mut hark = setup.start().await;
    hark.drop_file("calls", "under way.wav", &wav(1.0, 1));
    hark.next_event("job.submitted").await;
    let log = hark.reload(|text| text.replace(first.api(), second.api())).await;
    assert!(log.contains("dashscope.base_url"), "{log}");
    hark.drop_file("calls", "next.wav", &wav(1.0, 2));
    for name in ["next.wav", "under way.wav"] {
        let events = events_of_recording(&mut hark, name).await;
        assert_ne!(only(&events, "job.completed").body["possible_duplicate_charge"], true);
    }
    let submits = |service: &Emulator| service.journal_of("submit").len();
    assert_eq!((submits(&first), submits(&second)), (1, 1));
}

#[tokio::test]
async fn a_wrong_key_is_mended_without_a_restart() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--api-key", "sk-good-0123456789"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let refused = hark.next_event("job.retrying").await;
    assert_eq!(refused.body["error"]["code"], "InvalidApiKey");
    let file = hark.path("key");
    std::fs::write(&file, "sk-bad-0123456789").unwrap();
    let key = format!("[dashscope]\napi_key_file = '{}'", file.display());
    hark.reload(|text| text.replace("[dashscope]", &key)).await;
    // The next try is eight seconds later.
    let tries = |hark: &Hark| hark.log().matches("the request failed").count();
    wait_until("three tries in a row", CEILING, async || tries(&hark) >= 4).await;
    std::fs::write(&file, "sk-good-0123456789").unwrap();
    let begun = Instant::now();
    hark.reload(|text| text).await;
    only(&events_of_recording(&mut hark, "a.wav").await, "job.completed");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn more_requests_and_tasks_may_be_under_way_from_now_on() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "2s"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.set("dashscope.concurrency", "1").start().await;
    for number in 0..6 {
        hark.drop_file("calls", &format!("{number}.wav"), &wav(1.0, number));
    }
    hark.next_event("job.accepted").await;
    let begun = Instant::now();
    hark.reload(|text| text.replace("concurrency = 1", "concurrency = 6")).await;
    hark.ended_jobs(6).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "one at a time takes twelve: {:?}", begun.elapsed());
}
