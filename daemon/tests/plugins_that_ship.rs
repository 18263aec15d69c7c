//! The plugins that ship, in the daemon: a call of two people leaves files, an alert and a score sheet.

use std::fs::read_to_string;

use crate::support::{Emulator, Hark, NatsServer, call, known_call, of_kind};
use serde_json::{Value, json};

const ROUTE: &str = "
[[route]]
name = \"split\"
engine = \"filetrans\"
channels = \"split\"
roles = [\"agent\", \"customer\"]
";

const SHEET: &str = "
[[plugin.config.checks]]
name = \"greeting\"
weight = 30
rule = { any = [\"good morning\"], roles = [\"agent\"], window = \"first 5s\" }
[[plugin.config.checks]]
name = \"no dead air\"
weight = 10
longest_silence = \"1s\"
";

#[tokio::test]
async fn a_call_leaves_subtitles_an_alert_and_a_score() {
    let manifest = known_call([
        ("Good morning, how may I help?", "neutral"),
        ("I want to cancel.", "angry"),
        ("This is a disgrace.", "sad"),
    ]);
    let service = Emulator::knowing(manifest, &[]).await;
    let nats = NatsServer::start().await;
    let mut hark = Hark::new()
        .nats(&nats)
        .asr(&service)
        .folder_with("calls", "route = \"split\"\n")
        .lines(ROUTE)
        .plugin(
            "subtitles",
            "subtitles",
            "[plugin.config]\nformats = [\"srt\", \"vtt\", \"txt\", \"json\"]\n",
        )
        .plugin("moods", "emotion_watch", "[plugin.config]\nroles = [\"customer\"]\nstreak = 2\n")
        .plugin("score", "call_score", SHEET)
        .start()
        .await;
    hark.drop_file("calls", "call.wav", &call());
    let done = hark.next_event("job.completed").await;

    let file = |suffix: &str| read_to_string(hark.path(&format!("calls/call{suffix}"))).unwrap();
    let srt = "1\r\n00:00:00,500 --> 00:00:03,500\r\nagent: Good morning, how may I help?\r\n\r\n\
               2\r\n00:00:05,000 --> 00:00:07,000\r\ncustomer: I want to cancel.\r\n\r\n\
               3\r\n00:00:07,000 --> 00:00:09,000\r\nThis is a disgrace.\r\n\r\n";
    assert_eq!(file(".srt"), srt);
    assert!(file(".vtt").contains("00:00:05.000 --> 00:00:07.000\n<v customer>I want to cancel.</v>\n"));
    assert_eq!(
        file(".txt"),
        "agent: Good morning, how may I help?\ncustomer: I want to cancel. This is a disgrace.\n"
    );
    let transcript: Value = serde_json::from_str(&file(".transcript.json")).unwrap();
    assert_eq!(
        (&transcript["job"], &transcript["segments"][2]["text"]),
        (&json!(done.job()), &json!("This is a disgrace."))
    );

    let events = hark.events_of(done.job()).await;
    let alerts = of_kind(&events, "alert.raised");
    let id = format!("{}:moods:streak:1:1", done.job());
    assert_eq!(alerts.iter().map(|alert| &alert["alert"]).collect::<Vec<_>>(), [&json!(id)]);
    assert_eq!(
        (&alerts[0]["quote"], &alerts[0]["begin_ms"]),
        (&json!("I want to cancel. This is a disgrace."), &json!(5_000))
    );
    assert_eq!(of_kind(&events, "plugin.moods")[0]["data"]["alerts"][0]["segments"][1]["emotion"], "sad");
    let sheet = &of_kind(&events, "plugin.score")[0]["data"];
    assert_eq!((&sheet["score"], &sheet["passed"]), (&json!(75), &json!(false)));
    let why = |check: usize| sheet["checks"][check]["why"].as_str().unwrap();
    assert_eq!(why(0), "\"Good morning\" is said by agent in segment 1 at 0.5 s");
    let speech = of_kind(&events, "annotation.speech")[0];
    assert!(!speech["longest_silence"].is_null());
    assert!(
        why(1).starts_with("the longest silence takes ") && why(1).ends_with("; at most 1 s"),
        "{}",
        why(1)
    );
}
