//! What plugins tell about partials and segments: stored at once, once, and after the transforms.

use crate::plugins::Plugins;
use crate::support::{CEILING, Emulator, Hark, NatsServer, Setup, of_kind, wait_until, wav};
use serde_json::{Value, json};

/// Pieces of at most 20 s through flash, with these plugins in the order of the config.
fn setup(nats: &NatsServer, service: &Emulator, plugins: &Plugins, names: &[&str]) -> Setup {
    let entry = |name: &&str| {
        let library = plugins.path().join(format!("{name}.so"));
        format!("[[plugin]]\nname = \"{name}\"\nlibrary = \"{}\"\n", library.display())
    };
    Hark::new()
        .nats(nats)
        .asr(service)
        .folder_with("calls", "route = \"pieces\"\n")
        .lines("[[route]]\nname = \"pieces\"\nengine = \"flash\"\npiece = \"20s\"\n")
        .lines(&names.iter().map(entry).collect::<String>())
}

fn states(alerts: &[&Value], id: &str) -> Vec<String> {
    let of_id = alerts.iter().filter(|alert| alert["alert"] == id);
    of_id.map(|alert| alert["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_alert_comes_with_the_words_and_the_final_confirms_it_once() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "300ms"]).await);
    let plugins = Plugins::new().c("alarms");
    let mut hark = setup(&nats, &service, &plugins, &["alarms"]).start().await;
    hark.drop_file("calls", "short.wav", &wav(4.0, 1));
    let first = hark.next_event("alert.raised").await;
    assert_eq!((&first.body["state"], &first.body["revision"]), (&json!("tentative"), &json!(1)));
    assert!(of_kind(&hark.events_of(first.job()).await, "transcript.final").is_empty(), "it is heard still");
    let done = hark.next_event("job.completed").await;
    let events = hark.events_of(done.job()).await;
    let alerts = of_kind(&events, "alert.raised");
    assert_eq!(states(&alerts, "0"), ["tentative", "confirmed"]);
    assert!(alerts[1].get("revision").is_none() && alerts[1].get("piece").is_none(), "{}", alerts[1]);
}

#[tokio::test]
async fn what_is_told_about_segments_survives_kills_and_is_stored_once() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "40ms"]).await);
    let plugins = Plugins::new().c("alarms");
    let hark = setup(&nats, &service, &plugins, &["alarms"]).set("dashscope.ambiguous_retries", "9");
    let mut hark = hark.start().await;
    hark.drop_file("calls", "long.wav", &wav(310.0, 1));
    for segments in [2, 5, 9] {
        wait_until("some segments", CEILING, async || {
            let events = hark.events().await;
            of_kind(&events, "transcript.segment").len() >= segments
        })
        .await;
        hark.kill();
        hark.restart().await;
    }
    let done = hark.next_event("job.completed").await;
    let events = hark.events_of(done.job()).await;
    let pieces = of_kind(&events, "transcript.segment").len();
    assert!(pieces >= 16, "{pieces}");
    let alerts = of_kind(&events, "alert.raised");
    for piece in 1..=pieces {
        let id = piece.to_string();
        let states = states(&alerts, &id);
        assert!(states == ["tentative", "confirmed"] || states == ["confirmed"], "{piece}: {states:?}");
        let confirmed =
            alerts.iter().find(|alert| alert["alert"] == *id && alert["state"] == "confirmed").unwrap();
        assert_eq!(confirmed["piece"], piece);
    }
    assert_eq!(of_kind(&events, "alert.retracted").len(), 0);
}

#[tokio::test]
async fn a_daemon_that_takes_a_call_over_goes_on_with_its_alerts() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "50ms"]).await);
    let plugins = Plugins::new().rust("keyword_alert");
    let rules = "[plugin.config]\nrules = [{ name = \"all\", regex = [\"[a-z]{4,}\"] }]\n";
    let library = plugins.path().join("keyword_alert.so");
    let lines = format!(
        "[[route]]\nname = \"default\"\nengine = \"flash\"\npiece = \"5s\"\n\
         [[plugin]]\nname = \"keywords\"\nlibrary = \"{}\"\n{rules}",
        library.display()
    );
    let daemon = || {
        let daemon = Hark::new().nats(&nats).asr(&service).inbox("inbox", "hark.audio.inbox").lines(&lines);
        daemon.set("dashscope.concurrency", "2").set("nats.ack_wait", "\"5s\"")
    };
    let mut one = daemon().start().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let headers = [("Content-Type", "audio/x-caf"), ("Nats-Msg-Id", "call")];
    crate::support::publish(&context, "hark.audio.inbox", &headers, crate::support::caf(60.0, 1)).await;
    for _ in 0..4 {
        one.next_event("transcript.segment").await;
    }
    one.kill();
    let mut two = daemon().start().await;
    let done = two.next_event("job.completed").await;
    let events = two.events_of(done.job()).await;
    let segments = of_kind(&events, "transcript.segment");
    let alerts = of_kind(&events, "alert.raised");
    assert!(segments.len() >= 12, "{}", segments.len());
    for segment in segments {
        let of_piece: Vec<_> =
            alerts.iter().filter(|alert| alert["begin_ms"] == segment["begin_ms"]).collect();
        let confirmed: Vec<_> = of_piece.iter().filter(|alert| alert["state"] == "confirmed").collect();
        assert_eq!(confirmed.len(), 1, "once, by whichever daemon: {of_piece:#?}");
        assert!(of_piece.iter().all(|alert| alert["alert"] == confirmed[0]["alert"]), "{of_piece:#?}");
        assert!(of_piece.len() <= 2, "{of_piece:#?}");
    }
    assert_eq!(of_kind(&events, "alert.retracted"), Vec::<&Value>::new());
}

#[tokio::test]
async fn partials_segments_and_the_final_leave_as_the_transform_left_them() {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--token-delay", "20ms"]).await);
    let plugins = Plugins::new().c("alarms").c("hides").c("listens");
    // A transform comes first wherever it stands in the config.
    let mut hark = setup(&nats, &service, &plugins, &["listens", "hides"]).start().await;
    hark.drop_file("calls", "long.wav", &wav(310.0, 1));
    let done = hark.next_event("job.completed").await;
    let events = hark.events_of(done.job()).await;
    let segments = of_kind(&events, "transcript.segment");
    assert!(segments.len() >= 16);
    let finals = of_kind(&events, "transcript.final");
    let texts = segments.iter().chain(&finals).flat_map(|event| event["segments"].as_array().unwrap());
    let texts: Vec<&str> = texts.map(|segment| segment["text"].as_str().unwrap()).collect();
    assert!(texts.iter().all(|text| *text == "hidden"), "{texts:?}");
    assert_eq!(finals[0]["text"], "hidden");
    let partials = hark.partials();
    assert!(!partials.is_empty() && partials.iter().all(|partial| partial.body["text"] == "hidden"));
}
