//! A broker that is away, refuses the login, or does not grant every right: the daemon reports what is missing in the server's words. The
//! rights of docs/nats.md are enough.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{
    CEILING, Emulator, Hark, HookReceiver, HookReply, NatsServer, Process, REDELIVERY, Setup,
    all_acknowledged, publish, sha256, wait_until, wav,
};
use async_nats::jetstream::{self, consumer::pull};
use futures::StreamExt;
use serde_json::json;
use tokio::io::AsyncReadExt;

fn setup(nats: &NatsServer, service: &Emulator, user: &str) -> Setup {
    let server = nats.url().replace("//", &format!("//{user}@"));
    Hark::new()
        .nats(nats)
        .asr(service)
        .set("nats.servers", &format!("[\"{server}\"]"))
        .folder_with("calls", "existing = \"process\"")
        .inbox("inbox", "hark.audio.inbox")
}

fn users(denied: &str) -> String {
    format!(
        "authorization {{ users = [
            {{ user: hark, password: hark, permissions: {{ {denied} }} }}
            {{ user: root, password: root }}
        ] }}\nno_auth_user: root"
    )
}

#[tokio::test]
async fn a_dead_port_and_a_wrong_password_are_told_apart() {
    let nats = NatsServer::configured(&users("")).await;
    let service = Emulator::start(&[]).await;
    let dead = setup(&nats, &service, "hark:hark").set("nats.servers", "[\"nats://127.0.0.1:1\"]");
    let mut hark = dead.launch().await;
    hark.not_ready("127.0.0.1:1: IO error: Connection refused").await;
    wait_until("the log to say so", CEILING, async || hark.log().contains("Connection refused")).await;
    assert!(!hark.log().contains("JetStream is not answering"), "{}", hark.log());

    let mut hark = setup(&nats, &service, "hark:wrong").launch().await;
    hark.not_ready("Authorization Violation; set nats.user and nats.password_file").await;
    wait_until("the log to say so", CEILING, async || hark.log().contains("Authorization Violation")).await;
    assert!(!hark.log().contains("JetStream is not answering"), "{}", hark.log());
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let publish = |subject: &str| format!("publish: {{ deny: [\"{subject}\"] }}");
    let rights = [
        (publish("hark.event.>"), "publish to hark.event.>"),
        (publish("$JS.API.STREAM.INFO.HARK_EVENTS"), "publish to $JS.API.STREAM.INFO.HARK_EVENTS"),
        (publish("$JS.API.STREAM.CREATE.*"), "publish to $JS.API.STREAM.CREATE.HARK_"),
        (publish("$JS.API.CONSUMER.CREATE.>"), "publish to $JS.API.CONSUMER.CREATE.HARK_AUDIO.>"),
        (publish("$JS.API.CONSUMER.MSG.NEXT.>"), "publish to $JS.API.CONSUMER.MSG.NEXT.HARK_AUDIO.>"),
        (publish("$KV.HARK_JOBS.>"), "publish to $KV.HARK_JOBS.>"),
        ("subscribe: { deny: [\"_INBOX.>\"] }".to_owned(), "subscribe to _INBOX.>"),
    ];
    let service = Emulator::start(&[]).await;
    futures::future::join_all(rights.iter().map(|(denied, right)| without(denied, right, &service))).await;
}

async fn without(denied: &str, right: &str, service: &Emulator) {
    let nats = NatsServer::configured(&users(denied)).await;
    let mut hark = setup(&nats, service, "hark:hark").launch().await;
    if !denied.contains("CREATE.*") {
        nats.forgetful_audio_stream().await;
        let context = jetstream::new(nats.client().await);
        publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], wav(1.0, 1)).await;
    }
    hark.drop_file("calls", "a.wav", &wav(1.0, 2));
    hark.not_ready("Permissions Violation for ").await;
    hark.not_ready(right).await;
    wait_until("the log to name the right", CEILING, async || hark.log().contains(right)).await;
    let log = hark.log();
    assert!(!log.contains("whose disk was full"), "{right}: {log}");
    let refusals = log.lines().filter(|line| line.contains("NATS server refused something")).count();
    assert!(refusals < 20, "{right}: logged {refusals} times");

    nats.reconfigure(&users(""));
    all_acknowledged(&nats, REDELIVERY).await;
    hark.ready().await;
    hark.ended_jobs(1).await;
}

/// The configuration in docs/nats.md, with one more user for the test.
fn documented() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/nats.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let users = block.replace("users = [", "users = [ { user: root, password: root }");
    format!("{users}\nno_auth_user: root\nmax_payload: 72KB")
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let nats = NatsServer::configured(&documented()).await;
    let context = jetstream::new(nats.client().await);
    let (long, text) = (wav(1.0, 7), "and so on ".repeat(500));
    let manifest = json!({ sha256(&long): { "text": text } });
    let service = Emulator::knowing(manifest, &["--token-delay", "0ms"]).await;
    let receiver = HookReceiver::start().await;
    let daemon = || {
        let setup = setup(&nats, &service, "harkd:secret").set("nats.ack_wait", "\"2s\"");
        setup.plugin("hello", "hello", "").webhook("crm", &receiver.url(), "")
    };

    // The daemon creates its streams and buckets, takes in a file and a message, and puts segments that are too large into an object.
    // The receiver of a webhook is away for the first event, which is read from the stream again.
    receiver.next([HookReply::status(503)]);
    let mut one = daemon().start().await;
    one.drop_file("calls", "long.wav", &long);
    let audio = [("Content-Type", "audio/wav")];
    publish(&context, "hark.audio.inbox", &audio, wav(1.0, 1)).await;
    one.ended_jobs(2).await;
    let finals = one.events().await;
    let object = finals.iter().find_map(|event| event.body["segments_object"]["name"].as_str()).unwrap();
    all_acknowledged(&nats, CEILING).await;
    wait_until("both finals at the receiver", CEILING, async || receiver.taken().len() >= 2).await;

    // Another daemon takes over the jobs of the killed daemon.
    service.pause();
    publish(&context, "hark.audio.inbox", &audio, wav(1.0, 2)).await;
    for _ in 0..3 {
        one.next_event("job.accepted").await;
    }
    one.kill();
    service.resume();
    let mut two = daemon().start().await;
    two.ended_jobs(3).await;
    all_acknowledged(&nats, REDELIVERY).await;
    one.restart().await;

    // Requests that the daemon makes only after rare faults, here made by the test through the same client library.
    let options = async_nats::ConnectOptions::with_user_and_password("harkd".into(), "secret".into());
    let jetstream = jetstream::new(options.connect(nats.url()).await.unwrap());
    let store = jetstream.get_object_store("HARK_TRANSCRIPTS").await.unwrap();
    let mut segments = Vec::new();
    store.get(object).await.unwrap().read_to_end(&mut segments).await.unwrap();
    store.put(object, &mut segments.as_slice()).await.unwrap();
    let events = jetstream.get_stream_no_info("HARK_EVENTS").await.unwrap();
    let consumer = events.create_consumer(pull::OrderedConfig::default()).await.unwrap();
    consumer.messages().await.unwrap().next().await.unwrap().unwrap();
    let audio_stream = jetstream.get_stream("HARK_AUDIO").await.unwrap();
    let gone = audio_stream.delete_message(1).await.unwrap_err();
    assert!(!gone.to_string().contains("timed out"), "{gone}");

    // The commands of `harkd`.
    let person = setup(&nats, &service, "person:secret").plugin("hello", "hello", "");
    let config = person.write_config();
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::harkd());
        let command = command.arg("--config").arg(&config).args(arguments);
        let mut process = Process::start(arguments[0], command, folder.path());
        (process.ended(CEILING).await, process.log())
    };
    let file = folder.path().join("call.wav");
    std::fs::write(&file, wav(1.0, 3)).unwrap();
    let (status, log) = run(&["submit", "--wait", file.to_str().unwrap()]).await;
    assert!(status.success() && log.contains("call.wav: "), "{log}");
    // Larger than a message: through the bucket of uploads, which the daemon empties.
    std::fs::write(&file, wav(5.0, 4)).unwrap();
    let (status, log) = run(&["submit", "--wait", file.to_str().unwrap()]).await;
    assert!(status.success() && log.contains("call.wav: "), "{log}");
    let uploads = context.get_object_store("HARK_UPLOADS").await.unwrap();
    wait_until("the object to be deleted", CEILING, async || {
        uploads.list().await.unwrap().collect::<Vec<_>>().await.is_empty()
    })
    .await;
    let (status, log) = run(&["plugins", "enable", "hello"]).await;
    assert!(status.success(), "{log}");
    let (status, log) = run(&["webhooks", "test", "crm"]).await;
    assert!(status.success(), "{log}");
    let (status, log) = run(&["replay", "--publish"]).await;
    assert!(status.success() && log.contains("published: "), "{log}");
    let jobs: BTreeSet<String> = one.events().await.iter().map(|event| event.job().to_owned()).collect();
    let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
    let (status, log) = run(&[&["forget"], &jobs[..]].concat()).await;
    assert!(status.success() && log.contains("1 object"), "{log}");
    let events = context.get_stream("HARK_EVENTS").await.unwrap();
    assert_eq!(events.cached_info().state.messages, 0);

    for log in [one.log(), two.log(), nats.log()] {
        let refused: Vec<&str> = log.lines().filter(|line| line.contains("iolation")).collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }
}
