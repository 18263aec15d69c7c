//! Messages on a slow connection, and consumers that deliver nothing: a source reports the reason, and takes in what it can.

use std::time::Duration;

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, REDELIVERY, SlowLink, all_acknowledged, publish, wait_until, wav,
};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{PriorityPolicy, pull};

async fn put(nats: &NatsServer, audio: Vec<u8>) {
    let context = jetstream::new(nats.client().await);
    publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], audio).await;
}

/// The default: longer than a message takes on these lines.
const AS_LONG: &str = "\"30s\"";

/// Messages of 80 kB each. A batch of the size that suits a fast connection occupies this one for 20 s, and answers of the claims bucket
/// wait behind it.
#[tokio::test]
async fn on_a_slow_line_messages_are_taken_in_one_after_the_other() {
    const MESSAGES: u64 = 20;
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let line = SlowLink::start(nats.url().trim_start_matches("nats://").parse().unwrap(), 60_000).await;
    let setup = setup.set("nats.servers", &format!("[\"{}\"]", line.url())).set("nats.ack_wait", AS_LONG);
    let mut hark = setup.start().await;
    for seed in 0..MESSAGES {
        put(&nats, wav(5.0, seed)).await;
    }
    all_acknowledged(&nats, 2 * REDELIVERY).await;
    assert_eq!(hark.ended_jobs(MESSAGES as usize).await.len() as u64, MESSAGES);
    let context = jetstream::new(nats.client().await);
    let consumer: jetstream::consumer::PullConsumer =
        context.get_consumer_from_stream("hark_inbox", "HARK_AUDIO").await.unwrap();
    let deliveries = consumer.cached_info().delivered.consumer_sequence;
    assert!(deliveries < 2 * MESSAGES, "{deliveries} deliveries of {MESSAGES} messages");
}

/// At 45 kB a second the one message takes 20 s.
#[tokio::test]
async fn a_message_that_takes_its_time_on_the_line_is_asked_for_once() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    let line = SlowLink::start(nats.url().trim_start_matches("nats://").parse().unwrap(), 45_000).await;
    let setup = setup.set("nats.servers", &format!("[\"{}\"]", line.url())).set("nats.ack_wait", AS_LONG);
    let mut hark = setup.start().await;
    put(&nats, wav(55.0, 1)).await;
    all_acknowledged(&nats, REDELIVERY).await;
    assert_eq!(hark.ended_jobs(1).await[0].kind(), "job.completed");
    let context = jetstream::new(nats.client().await);
    let consumer: jetstream::consumer::PullConsumer =
        context.get_consumer_from_stream("hark_inbox", "HARK_AUDIO").await.unwrap();
    assert_eq!(consumer.cached_info().delivered.consumer_sequence, 1);
}

/// The operator's consumer delivers only to members of a priority group, and refuses requests as long as the daemon's.
#[tokio::test]
async fn a_consumer_that_was_made_for_another_config_is_changed() {
    let nats = NatsServer::start().await;
    let stream = nats.forgetful_audio_stream().await;
    let other = pull::Config {
        durable_name: Some("hark_inbox".into()),
        filter_subject: "hark.audio.inbox".into(),
        max_ack_pending: 1,
        max_expires: Duration::from_secs(2),
        priority_policy: PriorityPolicy::Overflow,
        priority_groups: vec!["others".into()],
        ..pull::Config::default()
    };
    stream.create_consumer(other).await.unwrap();
    let service = Emulator::start(&[]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").start().await;
    put(&nats, wav(1.0, 1)).await;
    all_acknowledged(&nats, REDELIVERY).await;
    hark.ready().await;
}

/// The server's `max_payload` is raised after the daemon has connected; the server does not inform connected clients.
#[tokio::test]
async fn a_message_larger_than_any_could_be_when_the_daemon_connected_is_taken_in() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    // With so little room in the state directory the daemon requests no more bytes than one message may have.
    let mut hark = setup.set("state.max_size", "\"3MiB\"").start().await;
    nats.reconfigure("max_payload: 16MB");
    wait_until("the server to take larger messages", CEILING, async || {
        nats.client().await.server_info().max_payload > 15 << 20
    })
    .await;
    put(&nats, vec![b'x'; 8 << 20]).await;
    assert_eq!(hark.ended_jobs(1).await[0].body["error"]["code"], "NotAudio");
    assert!(!hark.log().contains("consumer is looked up again"));
}

#[tokio::test]
async fn a_source_that_takes_nothing_is_not_ready_and_says_why() {
    tokio::join!(
        without_a_right("$JS.API.CONSUMER.MSG.NEXT.>", "Permissions Violation"),
        without_a_right("$KV.HARK_JOBS.>", "the bucket HARK_JOBS does not answer"),
        without_a_right("$JS.ACK.>", "acknowledgements of messages are not confirmed"),
    );
}

async fn without_a_right(subject: &str, words: &str) {
    let configuration = |denied: &str| {
        format!(
            "authorization {{ users = [
                {{ user: hark, password: hark, permissions: {{ publish: {{ deny: [{denied}] }} }} }}
                {{ user: root, password: root }}
            ] }}\nno_auth_user: root"
        )
    };
    let nats = NatsServer::configured(&configuration(&format!("\"{subject}\""))).await;
    let service = Emulator::start(&[]).await;
    let user = nats.url().replace("//", "//hark:hark@");
    let setup = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox");
    nats.forgetful_audio_stream().await;
    // The message is older than the claims bucket: no daemon can have sent it to the service before.
    put(&nats, wav(1.0, 1)).await;
    let mut hark = setup.set("nats.servers", &format!("[\"{user}\"]")).start().await;
    hark.not_ready(words).await;
    nats.reconfigure(&configuration(""));
    all_acknowledged(&nats, REDELIVERY).await;
    hark.ready().await;
    let completed = hark.next_event("job.completed").await;
    assert_eq!(completed.body.get("possible_duplicate_charge"), None);
}
