//! The live page, as people use it: in a real browser. The stories are in `page/stories.py`; this sets their stage.

use crate::support::{
    Emulator, Hark, NatsServer, channel, has_chromium, sentence, sha256, stereo, tell, wav,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Rules whose alerts the stories see.
const RULES: &str = r#"
[[plugin.config.rules]]
name = "churn"
any = ["cancel"]
severity = "warning"

[[plugin.config.rules]]
name = "billing"
any = ["charged twice"]
severity = "critical"
"#;

/// A source with two people on two channels, heard whole by the service, which tells each sentence's time.
const DESK: &str = r#"
[[route]]
name = "desk"
engine = "filetrans"
channels = "split"
roles = ["agent", "customer"]
"#;

/// The recordings of the stories, with the manifest of what the service hears in them.
struct Recordings {
    folder: TempDir,
    manifest: Map<String, Value>,
}

impl Recordings {
    fn new() -> Recordings {
        let mut recordings = Recordings { folder: tempfile::tempdir().unwrap(), manifest: Map::new() };
        recordings.add("call.wav", &call(), json!({ "language": "en", "sentences": sentences() }));
        // Long enough that a person sees the words come.
        let long = "Hello, I am calling about my contract, which I want to cancel. ".repeat(4);
        recordings.add(
            "live.wav",
            &wav(20.0, 1),
            json!({"text": long, "language": "en", "emotion": "angry"}),
        );
        let spoken = [
            ("thanks", "Thank you so much, the new phone arrived this morning.", "happy"),
            ("move", "I would like to move my appointment to Thursday, please.", "neutral"),
            ("refund", "I was charged twice and want to cancel.", "angry"),
        ];
        for (seed, (name, text, emotion)) in spoken.into_iter().enumerate() {
            let heard = json!({"text": text, "language": "en", "emotion": emotion});
            recordings.add(&format!("{name}.wav"), &wav(5.0, 10 + seed as u64), heard);
        }
        std::fs::write(recordings.folder.path().join("broken.wav"), b"This is a letter, no recording.")
            .unwrap();
        recordings
    }

    fn add(&mut self, name: &str, audio: &[u8], heard: Value) {
        std::fs::write(self.folder.path().join(name), audio).unwrap();
        self.manifest.insert(sha256(audio), heard);
    }

    fn write_manifest(&self) -> String {
        let path = self.folder.path().join("manifest.json");
        std::fs::write(&path, json!(self.manifest).to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Who speaks when, in seconds, and how.
const LINES: [(u32, f64, &str, &str); 7] = [
    (0, 0.4, "neutral", "Good morning, how can I help you?"),
    (1, 4.0, "angry", "I was charged twice for the same order."),
    (0, 9.0, "neutral", "I am sorry to hear that. Let me look."),
    (1, 14.0, "angry", "This is the second time, and I want to cancel my contract."),
    (0, 20.0, "surprised", "I see it now: there are two payments. I will send one back today."),
    (1, 27.0, "happy", "Thank you, that is kind."),
    (0, 31.0, "happy", "You are welcome. Have a good day."),
];

fn sentences() -> Vec<Value> {
    let line = |&(channel, begin, emotion, text): &(u32, f64, &str, &str)| {
        let begin = (begin * 1_000.0) as u64;
        json!({"channel_id": channel, "begin_time": begin, "end_time": begin + 3_200, "text": text, "emotion": emotion})
    };
    LINES.iter().map(line).collect()
}

/// Two people on two channels in forty seconds. What they say is in the manifest; the sounds are such that speech is measured.
fn call() -> Vec<u8> {
    let (agent, customer) = (sentence("thanks.wav"), sentence("appointment.wav"));
    let side = |wanted: u32, sound: &[i16]| {
        let sounds: Vec<(f64, &[i16])> = LINES
            .iter()
            .filter(|(channel, ..)| *channel == wanted)
            .map(|(_, begin, ..)| (*begin, sound))
            .collect();
        channel(40, &sounds)
    };
    stereo(&[side(0, &agent), side(1, &customer)])
}

/// A daemon with two folders, rules, a budget, and recordings that may be played.
async fn stage(recordings: &Recordings) -> (NatsServer, Emulator, Hark) {
    let nats = NatsServer::start().await;
    let manifest = recordings.write_manifest();
    let service = Emulator::start(&["--manifest", &manifest, "--token-delay", "120ms"]).await;
    let reader = recordings.folder.path().join("reader");
    std::fs::write(&reader, "looker\n").unwrap();
    let hark = Hark::new()
        .set("http.read_token_file", &format!("{reader:?}"))
        .nats(&nats)
        .asr(&service)
        .folder("calls")
        .folder_with("desk", "route = \"desk\"\n")
        .lines(DESK)
        .plugin("keywords", "keyword_alert", RULES)
        .set("http.audio", "true")
        .set("budget.daily_usd", "0.05")
        .start()
        .await;
    (nats, service, hark)
}

#[tokio::test]
async fn people_see_hear_and_find_calls_in_a_browser() {
    if !has_chromium("people_see_hear_and_find_calls_in_a_browser") {
        return;
    }
    let recordings = Recordings::new();
    let (_nats, _service, hark) = stage(&recordings).await;
    tell(&["use"], &hark, recordings.folder.path()).await;
}

#[tokio::test]
async fn every_page_serves_everyone() {
    if !has_chromium("every_page_serves_everyone") {
        return;
    }
    let recordings = Recordings::new();
    let (_nats, _service, hark) = stage(&recordings).await;
    tell(&["look"], &hark, recordings.folder.path()).await;
}
