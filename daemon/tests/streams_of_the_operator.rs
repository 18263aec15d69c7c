//! Streams that the operator made before the daemon's first start: the daemon uses them, or names the stream that is wrong and waits.

use crate::support::{
    CEILING, Emulator, Hark, NatsServer, Setup, all_acknowledged, publish, wait_until, wav,
};
use async_nats::jetstream::stream::{Config, RetentionPolicy, Source, SubjectTransform};
use async_nats::jetstream::{self, Context};

fn transform(source: &str, destination: &str) -> SubjectTransform {
    SubjectTransform { source: source.into(), destination: destination.into() }
}

fn stream(name: &str, subjects: &[&str]) -> Config {
    Config {
        name: name.into(),
        subjects: subjects.iter().map(|&subject| subject.to_owned()).collect(),
        ..Config::default()
    }
}

fn setup(nats: &NatsServer, service: &Emulator) -> Setup {
    Hark::new()
        .nats(nats)
        .asr(service)
        .folder_with("calls", "existing = \"process\"")
        .inbox("inbox", "hark.audio.inbox")
}

/// Asserts that a message to `subject` and a file are both recognized.
async fn both_are_heard(nats: &NatsServer, context: &Context, subject: &str) {
    let service = Emulator::start(&[]).await;
    let mut hark = setup(nats, &service).start().await;
    publish(context, subject, &[("Content-Type", "audio/wav")], wav(1.0, 1)).await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 2));
    let mut sources: Vec<String> = hark
        .ended_jobs(2)
        .await
        .iter()
        .map(|event| format!("{} {}", event.body["source"].as_str().unwrap(), event.kind()))
        .collect();
    sources.sort();
    assert_eq!(sources, ["calls job.completed", "inbox job.completed"]);
    all_acknowledged(nats, CEILING).await;
}

#[tokio::test]
async fn a_stream_of_audio_that_other_streams_feed_is_heard() {
    let nats = NatsServer::start().await;
    let context = jetstream::new(nats.client().await);
    context.create_stream(stream("CALLS", &["calls.>"])).await.unwrap();
    let source = Source {
        name: "CALLS".into(),
        subject_transforms: vec![transform("calls.>", "hark.audio.>")],
        ..Source::default()
    };
    let audio = Config {
        sources: Some(vec![source]),
        retention: RetentionPolicy::WorkQueue,
        ..stream("HARK_AUDIO", &[])
    };
    context.create_stream(audio).await.unwrap();
    both_are_heard(&nats, &context, "calls.inbox").await;
}

#[tokio::test]
async fn a_stream_of_audio_with_a_transform_is_heard() {
    let nats = NatsServer::start().await;
    let context = jetstream::new(nats.client().await);
    let audio = Config {
        subject_transform: Some(transform("calls.*", "hark.audio.{{wildcard(1)}}")),
        retention: RetentionPolicy::WorkQueue,
        ..stream("HARK_AUDIO", &["calls.*"])
    };
    context.create_stream(audio).await.unwrap();
    both_are_heard(&nats, &context, "calls.inbox").await;
}

#[tokio::test]
async fn a_stream_of_events_that_does_not_keep_them_is_named_and_waited_for() {
    let subjects =
        ["hark.event.job.>", "hark.event.annotation.>", "hark.event.alert.>", "hark.event.plugin.>"];
    let all = [&subjects[..], &["hark.event.transcript.segment.>", "hark.event.transcript.final.>"]].concat();
    let events = || stream("HARK_EVENTS", &all);
    let unfit = [
        ("interest retention", Config { retention: RetentionPolicy::Interest, ..events() }),
        ("no_ack", Config { no_ack: true, ..events() }),
        (
            "subject_transform",
            Config { subject_transform: Some(transform("hark.event.>", "kept.>")), ..events() },
        ),
    ];
    for (words, config) in unfit {
        let nats = NatsServer::start().await;
        let context = jetstream::new(nats.client().await);
        context.create_stream(config).await.unwrap();
        let service = Emulator::start(&[]).await;
        let mut hark = setup(&nats, &service).launch().await;
        hark.not_ready(words).await;
        hark.drop_file("calls", "a.wav", &wav(1.0, 3));
        wait_until("the recording to be recognized", CEILING, async || !service.journal().is_empty()).await;
        let stored = context.get_stream("HARK_EVENTS").await.unwrap().cached_info().state.last_sequence;
        assert_eq!(stored, 0, "{words}: nothing is published into it");

        context.delete_stream("HARK_EVENTS").await.unwrap();
        hark.ready().await;
        hark.ended_jobs(1).await;
        let sequences: Vec<_> =
            hark.events().await.iter().map(|event| event.body["sequence"].as_u64().unwrap()).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "{words}");
    }
}
