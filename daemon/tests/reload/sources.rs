//! Sources are added, removed and changed; one that stays is not touched.

use std::time::Duration;

use async_nats::jetstream;

use super::{events_of_recording, only};
use crate::support::{CEILING, Emulator, Hark, NatsServer, all_acknowledged, publish, wait_until, wav};

fn folder(hark: &Hark, name: &str, lines: &str) -> String {
    let path = hark.path(name);
    std::fs::create_dir_all(&path).unwrap();
    format!(
        "[[source]]\nname = \"{name}\"\nkind = \"directory\"\npath = '{}'\nsettle = \"100ms\"\n{lines}\n",
        path.display()
    )
}

#[tokio::test]
async fn a_folder_is_added_and_removed_and_its_open_job_still_ends() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "2s"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let before = std::fs::read_to_string(hark.config_file()).unwrap();
    let done = hark.path("done");
    let more = folder(&hark, "more", &format!("when_done = \"move\"\ndone_directory = '{}'", done.display()));

    let log = hark.reload(|text| text + &more).await;
    assert!(log.contains("source more (added)"), "{log}");
    hark.ready().await;
    hark.drop_file("more", "open.wav", &wav(1.0, 1));
    hark.next_event("job.submitted").await;

    let log = hark.reload(|_| before).await;
    assert!(log.contains("source more (removed)"), "{log}");
    assert!(!log.contains("watching"), "the other source goes on untouched: {log}");
    hark.drop_file("more", "late.wav", &wav(1.0, 2));
    only(&events_of_recording(&mut hark, "open.wav").await, "job.completed");
    wait_until("its file to be moved, as its source said", CEILING, async || done.join("open.wav").exists())
        .await;

    hark.drop_file("calls", "other.wav", &wav(1.0, 3));
    only(&events_of_recording(&mut hark, "other.wav").await, "job.completed");
    assert!(
        hark.path("more/late.wav").exists() && hark.ended_jobs(2).await.len() == 2,
        "it is watched no more"
    );
}

#[tokio::test]
async fn a_subject_is_added_and_removed_and_its_message_is_acknowledged() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--flash-delay", "1s"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    let before = std::fs::read_to_string(hark.config_file()).unwrap();
    let inbox = "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\n";

    hark.reload(|text| text + inbox).await;
    hark.ready().await;
    let context = jetstream::new(nats.client().await);
    publish(&context, "hark.audio.inbox", &[("Hark-Name", "open.wav")], wav(1.0, 1)).await;
    hark.next_event("job.submitted").await;
    hark.reload(|_| before.clone()).await;
    only(&events_of_recording(&mut hark, "open.wav").await, "job.completed");
    all_acknowledged(&nats, CEILING).await;

    // The request for the next message is still open at the server.
    publish(&context, "hark.audio.inbox", &[("Hark-Name", "late.wav")], wav(1.0, 2)).await;
    let stream = context.get_stream_no_info("HARK_AUDIO").await.unwrap();
    wait_until("the message to be delivered", CEILING, async || {
        stream.consumer_info("hark_inbox").await.unwrap().delivered.consumer_sequence == 2
    })
    .await;
    hark.reload(|text| text + inbox).await;
    only(&events_of_recording(&mut hark, "late.wav").await, "job.completed");
    let deliveries = stream.consumer_info("hark_inbox").await.unwrap().delivered.consumer_sequence;
    assert!(deliveries > 2, "the daemon took a message of a source that it did not have");
    hark.reload(|_| before.clone()).await;

    // The stream of the operator does not capture the subject: the daemon would wait for ever, so it is a mistake.
    let stream = jetstream::stream::Config {
        name: "OTHER".into(),
        subjects: vec!["other.>".into()],
        ..Default::default()
    };
    context.create_stream(stream).await.unwrap();
    let wrong = inbox.replace("\"hark.audio.inbox\"", "\"elsewhere\"\nstream = \"OTHER\"");
    let log = hark.reload(|_| before + &wrong).await;
    assert!(log.contains("the config has mistakes") && log.contains("elsewhere"), "{log}");
}

#[tokio::test]
async fn the_route_of_a_subject_changes_with_the_next_message() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let routes = "[[route]]\nname = \"de\"\nlanguage = \"de\"\n[[route]]\nname = \"en\"\nlanguage = \"en\"\n";
    let inbox =
        "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\nroute = \"en\"\n";
    let setup = Hark::new().nats(&nats).asr(&service).lines(&(routes.to_owned() + inbox));
    let mut hark = setup.start().await;
    let context = jetstream::new(nats.client().await);
    let begun = std::time::Instant::now();
    for (number, language) in ["en", "de", "en", "de"].into_iter().enumerate() {
        hark.reload(|text| {
            text.replace("route = \"en\"", "route = \"X\"")
                .replace("route = \"de\"", "route = \"X\"")
                .replace("\"X\"", &format!("\"{language}\""))
        })
        .await;
        let name = format!("{number}.wav");
        publish(&context, "hark.audio.inbox", &[("Hark-Name", &name)], wav(1.0, number as u64)).await;
        let events = events_of_recording(&mut hark, &name).await;
        assert_eq!(only(&events, "transcript.final").body["segments"][0]["language"], language);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "no message waits for a redelivery");
    let log = hark.reload(|text| text.replace("\"hark.audio.inbox\"", "\"hark.audio.second\"")).await;
    assert!(log.contains("source inbox"), "{log}");
    publish(&context, "hark.audio.second", &[("Hark-Name", "moved.wav")], wav(1.0, 9)).await;
    only(&events_of_recording(&mut hark, "moved.wav").await, "job.completed");
    all_acknowledged(&nats, CEILING).await;
}
