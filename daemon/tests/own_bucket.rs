//! Local recordings reach filetrans through a bucket of the operator's own, on a real S3 server, and leave nothing in it.

use std::path::Path;
use std::process::Command;

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, ReceivedEvent, S3Server, Setup, python, sha256, wait_until, wav,
};
use crate::two_daemons::{FILETRANS, put};

const BUCKET: &str = "calls";
const SECRET: &str = "canary-secret-of-the-bucket";

fn setup(nats: &NatsServer, service: &Emulator, store: &S3Server) -> Setup {
    store
        .behind(Hark::new().nats(nats).asr(service), BUCKET, SECRET)
        .folder_with("archive", "route = \"long\"\n")
        .lines("[[route]]\nname = \"long\"\nengine = \"filetrans\"\n")
}

async fn is_empty(store: &S3Server) {
    wait_until("the bucket to be empty", CEILING, async || store.objects(BUCKET).await.is_empty()).await;
}

fn retries<'a>(events: &'a [ReceivedEvent], code: &str) -> Vec<&'a ReceivedEvent> {
    let is_retry =
        |event: &&ReceivedEvent| event.kind() == "job.retrying" && event.body["error"]["code"] == code;
    events.iter().filter(is_retry).collect()
}

#[tokio::test]
async fn a_recording_goes_through_the_bucket_and_leaves_nothing_in_it() {
    let (nats, store) = (NatsServer::start().await, S3Server::start().await);
    store.make_bucket(BUCKET).await;
    let service = Emulator::start(&["--task-delay", "500ms"]).await;
    let mut hark = setup(&nats, &service, &store).set("log.level", "\"trace\"").start().await;
    let audio = wav(2.0, 1);
    hark.drop_file("archive", "a.wav", &audio);
    hark.next_event("job.submitted").await;
    let [object] = &store.objects(BUCKET).await[..] else { panic!("not one object while the task runs") };
    assert!(object.starts_with("hark/inbox/") && object.ends_with(".wav"), "{object}");
    assert_eq!(hark.ended_jobs(1).await[0].kind(), "job.completed");
    is_empty(&store).await;
    let [task] = &service.journal_of("task")[..] else { panic!("not one task") };
    assert_eq!(task["sha256"], sha256(&audio));
    let url = task["file_url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/{BUCKET}/{object}?", store.endpoint())), "{url}");
    assert!(url.contains("X-Amz-Signature=") && url.contains("X-Amz-Expires=86400"), "{url}");
    // The server itself checks no signature.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/presigned.py");
    let checked = Command::new(python()).arg(script).args(["GET", url, SECRET]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(service.journal_of("policy").is_empty() && service.journal_of("upload").is_empty());
    // Neither the secret nor what it signed, at any level; nor in an event.
    let said = format!("{}{:?}", hark.log(), hark.events().await);
    assert!(!said.contains("X-Amz-Signature") && !said.contains(SECRET));
}

#[tokio::test]
async fn an_object_is_deleted_although_the_daemon_was_killed() {
    let (nats, store) = (NatsServer::start().await, S3Server::start().await);
    store.make_bucket(BUCKET).await;
    // The id of the task is lost by the kill.
    let service = Emulator::start(&["--task-delay", "1s", "--fault", "stall,on=submit,ms=500,next=1"]).await;
    // The second recording is uploaded, and waits for its turn to be submitted.
    let setup = setup(&nats, &service, &store).set("dashscope.requests_per_minute", "1");
    let mut hark = setup.start().await;
    for number in 0..2 {
        hark.drop_file("archive", &format!("{number}.wav"), &wav(1.0, number));
    }
    let mut made = Vec::new();
    wait_until("a task, and a second upload", CEILING, async || {
        made = store.objects(BUCKET).await;
        service.journal_of("submit").len() == 1 && made.len() == 2
    })
    .await;
    hark.kill();
    assert_eq!(store.objects(BUCKET).await, made, "nothing is deleted without the daemon");
    hark.restart().await;
    for end in hark.ended_jobs(2).await {
        assert_eq!(end.kind(), "job.completed", "{}", end.body);
        assert_ne!(end.body["possible_duplicate_charge"], true, "the task was found by its object's name");
    }
    is_empty(&store).await;
    let submits = service.journal_of("submit");
    assert_eq!(submits.len(), 2, "one submit a recording");
}

#[tokio::test]
async fn an_object_is_deleted_when_another_daemon_has_ended_its_job() {
    let (nats, store) = (NatsServer::start().await, S3Server::start().await);
    store.make_bucket(BUCKET).await;
    let service = Emulator::start(&["--task-delay", "2s"]).await;
    let setup = || {
        let setup = store.behind(Hark::new().nats(&nats).asr(&service), BUCKET, SECRET);
        setup.inbox("inbox", "hark.audio.inbox").lines(FILETRANS).set("nats.ack_wait", "\"2s\"")
    };
    let mut one = setup().start().await;
    put(&nats, "call", wav(1.0, 1)).await;
    one.next_event("job.submitted").await;
    one.kill();
    let mut two = setup().start().await;
    assert_eq!(two.ended_jobs(1).await[0].kind(), "job.completed");
    assert_eq!(store.objects(BUCKET).await.len(), 1, "the daemon that made it is away");
    one.restart().await;
    is_empty(&store).await;
}

#[tokio::test]
async fn jobs_are_held_while_the_bucket_is_missing_or_refuses_them() {
    let (nats, store) = (NatsServer::start().await, S3Server::start().await);
    let service = Emulator::start(&[]).await;
    let mut hark = setup(&nats, &service, &store).start().await;
    hark.drop_file("archive", "a.wav", &wav(1.0, 1));
    let missing = hark.next_event("job.retrying").await;
    let error = &missing.body["error"];
    assert_eq!(
        (&error["code"], &error["blame"]),
        (&"StorageMisconfigured".into(), &"hark".into()),
        "{error}"
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("NoSuchBucket") && message.contains("[storage]"), "{message}");
    let (_, metrics) = hark.get("/metrics").await.unwrap();
    assert!(metrics.contains("hark_recognize_held{engine=\"[storage]\"} 1"), "{metrics}");
    assert!(metrics.contains("hark_recognize_held{engine=\"filetrans\"} 0"), "{metrics}");
    store.make_bucket(BUCKET).await;
    store.deny(BUCKET, "s3:PutObject").await;
    let denied = hark.next_event("job.retrying").await;
    let error = &denied.body["error"];
    assert_eq!((&error["code"], &error["blame"]), (&"StorageDenied".into(), &"account".into()), "{error}");
    store.allow(BUCKET).await;
    assert_eq!(hark.ended_jobs(1).await[0].kind(), "job.completed");
    let events = hark.events().await;
    assert_eq!(retries(&events, "StorageDenied").len(), 1, "what holds the jobs is said once");
    is_empty(&store).await;
}
