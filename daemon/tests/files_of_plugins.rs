//! Files that plugins hand over: the daemon writes them beside recordings, at once or not at all, and over none but its own.

use std::fs::read_to_string;

use crate::plugins::Plugins;
use crate::support::{Emulator, Hark, NatsServer, ReceivedEvent, wav};
use serde_json::{Value, json};

fn entry(plugins: &Plugins, lines: &str) -> String {
    let library = plugins.path().join("notes.so");
    format!("[[plugin]]\nname = \"notes\"\nlibrary = \"{}\"\n{lines}", library.display())
}

/// The data of the plugin's events of a job.
fn data(events: &[ReceivedEvent]) -> Vec<&Value> {
    events.iter().filter(|event| event.kind() == "plugin.notes").map(|event| &event.body["data"]).collect()
}

#[tokio::test]
async fn files_lie_beside_their_recordings_and_over_none_of_others() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "0ms"]).await);
    let plugins = Plugins::new().c("notes");
    let mut hark =
        Hark::new().nats(&nats).asr(&service).folder("calls").lines(&entry(&plugins, "")).start().await;
    let beside = |name: &str| hark.path(&format!("calls/{name}"));
    std::fs::write(beside("b.txt"), "of a person").unwrap();
    let (own, second) = (beside("a.txt"), beside("b.2.txt"));
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let done = hark.next_event("job.completed").await;
    assert_eq!(read_to_string(&own).unwrap(), "what was said");
    let events = hark.events_of(done.job()).await;
    let data = data(&events);
    assert_eq!(data.iter().filter_map(|data| data.get("files")).collect::<Vec<_>>(), [&json!([own])]);
    let errors: Vec<&str> = data.iter().filter_map(|data| data["error"].as_str()).collect();
    assert!(
        errors.iter().any(|error| error.contains("\".copy.wav\" would be taken for a recording")),
        "{errors:?}"
    );
    assert!(
        errors.iter().any(|error| error.contains("\"/../../escaped\" cannot be a file's suffix")),
        "{errors:?}"
    );

    hark.drop_file("calls", "b.wav", &wav(1.0, 2));
    hark.next_event("job.completed").await;
    assert_eq!(read_to_string(hark.path("calls/b.txt")).unwrap(), "of a person");
    assert_eq!(read_to_string(&second).unwrap(), "what was said");
    let names = std::fs::read_dir(hark.path("calls")).unwrap().count();
    assert_eq!(names, 5, "two recordings, three texts, nothing unfinished");
}

#[tokio::test]
async fn files_move_with_their_recordings() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "0ms"]).await);
    let plugins = Plugins::new().c("notes");
    let done = tempfile::tempdir().unwrap();
    let moves = format!("when_done = \"move\"\ndone_directory = \"{}\"\n", done.path().display());
    let hark = Hark::new().nats(&nats).asr(&service).folder_with("calls", &moves);
    let mut hark = hark.lines(&entry(&plugins, "")).start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    crate::support::wait_until("the text to move", crate::support::CEILING, async || {
        read_to_string(done.path().join("a.txt")).is_ok_and(|text| text == "what was said")
    })
    .await;
    assert!(!hark.path("calls/a.txt").exists());
    hark.next_event("job.completed").await;
}

#[tokio::test]
async fn files_of_messages_go_into_the_folder_of_the_plugin() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "0ms"]).await);
    let plugins = Plugins::new().c("notes");
    let texts = tempfile::tempdir().unwrap();
    let lines = entry(&plugins, &format!("files = \"{}\"\n", texts.path().join("texts").display()));
    let hark = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").lines(&lines);
    let mut hark = hark.start().await;
    let stream = async_nats::jetstream::new(nats.client().await);
    let send = async |name: &str, audio: Vec<u8>| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Hark-Name", name);
        let sent = stream.publish_with_headers("hark.audio.inbox", headers, audio.into()).await.unwrap();
        sent.await.unwrap();
    };
    send("../calls/../x.wav", wav(1.0, 1)).await;
    hark.next_event("job.completed").await;
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(texts.path().join("texts")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names().len(), 2, "the text, and the copy that no source reads there: {:?}", names());
    // The text's name has 254 bytes, the copy's would have more than a name can.
    send(&format!("{}.wav", "n".repeat(250)), wav(1.0, 2)).await;
    let done = hark.next_event("job.completed").await;
    let events = hark.events_of(done.job()).await;
    let errors: Vec<&str> = data(&events).iter().filter_map(|data| data["error"].as_str()).collect();
    assert!(errors.iter().any(|error| error.contains("give recordings shorter names")), "{errors:?}");
    assert_eq!(names().len(), 3, "{:?}", names());
    assert!(names().iter().all(|name| !name.starts_with('.')), "{:?}", names());
}
