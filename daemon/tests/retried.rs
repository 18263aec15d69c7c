//! An operator has recordings recognized again: a file where it lies now, a message whose audio is kept, a URL by its reference.

use crate::support::{
    CEILING, Emulator, FileServer, Hark, NatsServer, all_acknowledged, publish, wait_until, wav,
};
use serde_json::{Value, json};

/// No stream of the service ends.
fn slow() -> Value {
    json!([{ "kind": "slow_tokens", "ms": 600_000 }])
}

/// Every request fails for good.
fn refusing() -> Value {
    json!([{ "kind": "status", "status": 400, "code": "InvalidParameter", "on": ["flash"] }])
}

async fn retry(hark: &Hark, job: &str) -> String {
    let new = hark.json(&["jobs", "retry", job]).await;
    assert_eq!((new["retry_of"].as_str(), new["state"].as_str()), (Some(job), Some("accepted")), "{new}");
    new["job"].as_str().unwrap().to_owned()
}

async fn refused(hark: &Hark, job: &str, words: &str) {
    let (code, _, error) = hark.run(&["jobs", "retry", job]).await;
    assert!(code == 1 && error.contains(words), "{error}");
}

#[tokio::test]
async fn a_file_is_heard_where_it_was_moved_and_moved_on() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    service.set_faults(slow()).await;
    let setup = Hark::new().nats(&nats).asr(&service);
    let (done, failed) = (setup.path("done"), setup.path("failed"));
    let lines = format!("when_done = \"move\"\ndone_directory = {done:?}\nfailed_directory = {failed:?}");
    let mut hark = setup.folder_with("calls", &lines).start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let first = hark.next_event("job.submitted").await.job().to_owned();
    refused(&hark, &first, "has not ended").await;
    hark.json(&["jobs", "cancel", &first]).await;
    hark.next_event("job.failed").await;

    // At once: the daemon waits for the file to be put away.
    let second = retry(&hark, &first).await;
    refused(&hark, &first, "another retry of job").await;
    let accepted = hark.events_of(&second).await;
    assert_eq!(accepted[0].body["retry_of"], first.as_str());
    assert!(
        accepted[0].body["recording"]["uri"].as_str().unwrap().ends_with("/failed/a.wav"),
        "{}",
        accepted[0].body
    );
    hark.json(&["jobs", "cancel", &second]).await;
    hark.next_event("job.failed").await;
    wait_until("the job to be settled", CEILING, async || failed.join("a.wav").exists()).await;

    service.set_faults(json!([])).await;
    let third = retry(&hark, &second).await;
    let end = hark.next_event("job.completed").await;
    assert_eq!(end.job(), third);
    wait_until("the file to be moved", CEILING, async || done.join("a.wav").exists()).await;
    assert!(!failed.join("a.wav").exists());
    // It is heard again from there, and stays there.
    let fourth = retry(&hark, &third).await;
    assert_eq!(hark.next_event("job.completed").await.job(), fourth);
    std::fs::write(done.join("a.wav"), wav(1.0, 2)).unwrap();
    refused(&hark, &fourth, "is gone").await;
    for job in [&first, &second, &third, &fourth] {
        let events = hark.events_of(job).await;
        let ends =
            events.iter().filter(|event| ["job.completed", "job.failed"].contains(&event.kind())).count();
        assert_eq!(ends, 1, "{job}");
    }
}

#[tokio::test]
async fn the_audio_of_a_failed_message_is_kept_over_kills_and_that_of_others_is_not() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    service.set_faults(slow()).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let headers = [("Content-Type", "audio/wav"), ("Hark-Meta-Agent", "7"), ("Hark-Name", "a.wav")];
    publish(&context, "hark.audio.inbox", &headers, wav(1.0, 1)).await;
    let first = hark.next_event("job.submitted").await.job().to_owned();
    hark.json(&["jobs", "cancel", &first]).await;
    hark.next_event("job.failed").await;
    all_acknowledged(&nats, CEILING).await;
    let spool = hark.path("state/spool");
    let kept = || std::fs::read_dir(&spool).unwrap().count();
    assert_eq!(kept(), 1);
    hark.restart().await;
    assert_eq!(kept(), 1, "the start keeps it");

    // Killed right after the answer: the new job is on disk, and its audio with it.
    let second = retry(&hark, &first).await;
    hark.kill();
    service.set_faults(json!([])).await;
    hark.restart().await;
    let end = hark.next_event("job.completed").await;
    assert_eq!((end.job(), &end.body["metadata"]["agent"]), (second.as_str(), &json!("7")));
    wait_until("the copy to be removed", CEILING, async || kept() == 1).await;
    refused(&hark, &second, "is gone").await;
    let third = retry(&hark, &first).await;
    assert_eq!(hark.next_event("job.completed").await.job(), third);
}

#[tokio::test]
async fn a_url_is_heard_by_its_reference() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let files = FileServer::start(vec![("/a.wav", wav(1.0, 1))]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut hark = setup.set("security.allow_urls", "[\"127.0.0.1/32\"]").start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let body = json!({ "url": files.url("/a.wav") }).to_string().into_bytes();
    publish(&context, "hark.audio.inbox", &[("Content-Type", "application/json")], body).await;
    let first = hark.next_event("job.completed").await.job().to_owned();
    let second = retry(&hark, &first).await;
    assert_eq!(hark.next_event("job.completed").await.job(), second);
}

#[tokio::test]
async fn of_two_daemons_the_one_that_has_the_job_hears_it_once_more() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    service.set_faults(refusing()).await;
    let daemon = || Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let mut one = daemon().start().await;
    let mut two = daemon().start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    for seed in 1..=6 {
        publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], wav(1.0, seed)).await;
    }
    let failed = one.ended_jobs(6).await;
    service.set_faults(json!([])).await;
    // Either daemon is asked, and the other one's jobs are found too.
    for event in &failed {
        retry(&one, event.job()).await;
    }
    assert_eq!(two.ended_jobs(12).await.iter().filter(|end| end.kind() == "job.completed").count(), 6);
}
