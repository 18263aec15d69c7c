//! One daemon is killed while the service fetches the audio from a URL.

use serde_json::json;

use super::{claims, daemon, is_marked, jobs, nothing_waits, publish, taken, task_of};
use crate::support::{CEILING, Emulator, FileServer, NatsServer, Setup, wait_until, wav};

pub(crate) async fn a_task_of_a_url_is_resumed_by_the_other_daemon() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "3s"]).await;
    let files = FileServer::start(vec![("/call.wav", wav(2.0, 1))]).await;
    let setup = || daemon_of_urls(&nats, &service);
    let mut one = setup().start().await;
    refer(&nats, &files).await;
    let submitted = one.next_event("job.submitted").await;
    wait_until("the bucket to know the task", CEILING, async || {
        claims(&nats).await.iter().any(|claim| task_of(claim) == submitted.body["task_id"].as_str())
    })
    .await;
    let mut two = setup().start().await;
    one.kill();
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert_eq!(jobs.keys().collect::<Vec<_>>(), [submitted.job()]);
    let events = &jobs[submitted.job()];
    assert!(!is_marked(events));
    assert_eq!(events.last().unwrap().body["recording"]["uri"], files.url("/call.wav"));
    assert_eq!(taken(&service, "submit"), 1, "the task was paid once");
}

/// The broker is away when the service answers with the task's id; the daemon writes the id to the bucket later.
pub(crate) async fn a_task_that_reached_the_bucket_late_is_resumed_by_the_other_daemon() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "stall,on=submit,ms=3000", "--task-delay", "25s"]).await;
    let files = FileServer::start(vec![("/call.wav", wav(2.0, 1))]).await;
    let setup = || daemon_of_urls(&nats, &service);
    let (mut one, two) = (setup().start().await, setup());
    refer(&nats, &files).await;
    wait_until("the submit", CEILING, async || taken(&service, "submit") == 1).await;
    nats.kill();
    wait_until("the answer", CEILING, async || one.log().contains("other daemons do not know")).await;
    nats.restart().await;
    wait_until("the bucket to know the task", CEILING, async || {
        claims(&nats).await.iter().any(|claim| task_of(claim).is_some())
    })
    .await;
    one.kill();
    let mut two = two.start().await;
    nothing_waits(&nats).await;
    let jobs = jobs(&mut two).await;
    assert!(jobs.len() == 1 && !jobs.values().any(|events| is_marked(events)));
    assert_eq!(taken(&service, "submit"), 1, "the task was paid once");
}

/// The list cannot tell which task belongs to this job: tasks are identified by their upload, and a URL has none.
pub(crate) async fn an_ambiguous_submit_of_a_url_is_retried_as_often_as_the_config_allows(retries: usize) {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--fault", "stall,on=submit,next=1"]).await;
    let files = FileServer::start(vec![("/call.wav", wav(2.0, 1))]).await;
    let setup = || daemon_of_urls(&nats, &service).set("dashscope.ambiguous_retries", &retries.to_string());
    let mut one = setup().start().await;
    refer(&nats, &files).await;
    wait_until("the submit", CEILING, async || taken(&service, "submit") == 1).await;
    let mut two = setup().start().await;
    one.kill();
    nothing_waits(&nats).await;
    let events = two.events().await;
    let end = events.last().unwrap();
    assert_eq!(end.kind(), if retries == 0 { "job.failed" } else { "job.completed" }, "{}", end.body);
    assert_eq!(is_marked(&events), retries > 0, "{}", end.body);
    assert_eq!(taken(&service, "submit"), 1 + retries);
    assert_eq!(taken(&service, "list"), 0, "the list could not tell");
}

/// A daemon that allows URLs of this machine and has each recognized as a task.
fn daemon_of_urls(nats: &NatsServer, service: &Emulator) -> Setup {
    let tasks = "[[route]]\nname = \"default\"\nengine = \"filetrans\"\n";
    daemon(nats, service).set("security.allow_urls", "[\"127.0.0.1/32\"]").lines(tasks)
}

/// Publishes a message that refers to the recording of `files`.
async fn refer(nats: &NatsServer, files: &FileServer) {
    let reference = json!({"url": files.url("/call.wav"), "name": "call.wav"}).to_string();
    publish(nats, "hark.audio.inbox", "call", "application/json", reference.into_bytes()).await;
}
