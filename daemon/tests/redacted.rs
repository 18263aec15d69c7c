//! What `redact` takes out is in nothing that leaves the daemon: numbers in three languages, in pieces, with the plugin killed in between.

use std::path::Path;

use crate::support::{CEILING, Emulator, Hark, NatsServer, Setup, of_kind, wait_until, wav};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

/// What a piece says. Values stand inside of pieces, and in halves at their borders.
const SAID: [&str; 16] = [
    "4242 is the end of it. My card is 4242 4242 4242 4242, I want to cancel it. It begins with 4242 4242",
    "4242 4242 it goes on. My card is four two four two four two four two four two four two four two four two right now.",
    "My email is john dot doe at example dot com and I want to cancel. Call me at 555-867-5309 please.",
    "My email is john.doe@example.com and my account is DE89 3704 0044 0532 0130 00 with you.",
    "It is double four double two, oh oh, four two four two four two four two four two. Cancel it, four two",
    "four two four two, that was the rest of it. I moved here in 2019 and paid 19.99 for it.",
    "我的卡号是四二四二四二四二四二四二四二四二，我要退款。后四位是四二四二",
    "四二四二，对。我的手机是幺三八六七八九四二四二，邮箱是zhangsan@qq.com，退款。",
    "我的手机是13867894242，卡号是6228 4800 0000 0000 018，我要退款，谢谢。",
    "我的邮箱是zhangsan艾特qq点com，我在2019年买的，一共三千五百块钱。",
    "カード番号は四二四二四二四二四二四二四二四二です。解約したいです。番号はよん に よん に",
    "よん に よん に です。カード番号はよん に よん に よん に よん に よん に よん に よん に よん に です。",
    "電話番号は090-8675-3099です。解約したいです。電話番号はゼロ九ゼロの八六七五の三〇九九です。",
    "メールはtanakaアットマークexampleドットコムです。お客さんにご案内します。",
    "I said no numbers at all, and one moment please is none.",
    "My card, um, 4242 4242, yes, 4242 4242, that is it, cancel it, 42",
];

/// Parts of what was said that no text may have.
const PLANTED: [&str; 22] = [
    "4242",
    "four two",
    "four double",
    "double four",
    "四二",
    "よん",
    "john",
    "doe",
    "example",
    "867",
    "5309",
    "DE89",
    "3704",
    "0532",
    "幺三八",
    "zhangsan",
    "6228",
    "4800",
    "八六七五",
    "三〇九九",
    "8675",
    "tanaka",
];

/// What must be there still.
const INNOCENT: [&str; 6] = [
    "in 2019 and paid 19.99",
    "在2019年买的，一共三千五百块钱",
    "お客さんにご案内します",
    "one moment",
    "我要退款",
    "解約したい",
];

/// Pieces of at most 20 s through flash.
fn setup(nats: &NatsServer, service: &Emulator) -> Setup {
    let route = "[[route]]\nname = \"pieces\"\nengine = \"flash\"\npiece = \"20s\"\n";
    Hark::new().nats(nats).asr(service).folder_with("calls", "route = \"pieces\"\n").lines(route)
}

/// As `setup`, with alerts whose quotes show what plugins see, and what takes numbers out: first, wherever it stands.
fn redacting(nats: &NatsServer, service: &Emulator) -> Setup {
    let rules = "[[plugin.config.rules]]\nname = \"leaves\"\nany = [\"cancel\", \"退款\", \"解約\"]\n\
                 [[plugin.config.rules]]\nname = \"digits\"\nregex = ['.*(\\d|four|[四二〇八]|よん|@|dot|at).*']\n";
    setup(nats, service)
        .plugin("keywords", "keyword_alert", rules)
        .plugin("redact", "redact", "on_failure = \"hold\"\n")
        .set("dashscope.ambiguous_retries", "9")
        .set("log.level", "\"info,harkd=debug\"")
}

/// A long recording, and an emulator that hears a text of `SAID` in each of its pieces.
async fn service_that_hears() -> (Vec<u8>, Emulator) {
    let audio = wav(310.0, 1);
    // The daemon makes the pieces; what they are, a first run tells.
    let (nats, first) = (NatsServer::start().await, Emulator::start(&["--token-delay", "0ms"]).await);
    let mut hark = setup(&nats, &first).start().await;
    hark.drop_file("calls", "call.wav", &audio);
    hark.next_event("job.completed").await;
    hark.kill();
    let hashes = first.journal().into_iter().filter_map(|line| line["sha256"].as_str().map(str::to_owned));
    let manifest: Map<String, Value> =
        hashes.zip(SAID.into_iter().cycle()).map(|(hash, text)| (hash, json!({ "text": text }))).collect();
    assert!(manifest.len() >= SAID.len());
    (audio, Emulator::knowing(json!(manifest), &["--token-delay", "10ms"]).await)
}

fn planted_in(text: &str) -> Vec<&'static str> {
    PLANTED.into_iter().filter(|planted| text.contains(planted)).collect()
}

/// Every text of an event that comes from what was said.
fn texts(body: &Value, found: &mut Vec<String>) {
    match body {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if ["text", "quote", "reason", "message", "error"].contains(&key.as_str()) => {
                        found.push(text.to_owned())
                    }
                    _ => texts(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// Nothing planted is in an event or partial of this job.
async fn nothing_planted_left(hark: &mut Hark, job: &str) {
    let events = hark.events_of(job).await;
    let partials = hark.partials();
    let mut said = Vec::new();
    events.iter().chain(&partials).for_each(|event| texts(&event.body, &mut said));
    for text in &said {
        assert_eq!(planted_in(text), Vec::<&str>::new(), "{text}");
    }
    for kind in ["transcript.segment", "alert.raised"] {
        assert!(of_kind(&events, kind).len() >= SAID.len(), "{kind}");
    }
    assert!(!partials.is_empty());
    let last = events.iter().find(|event| event.kind() == "transcript.final").unwrap();
    let text = last.body["text"].as_str().unwrap();
    assert!(INNOCENT.iter().all(|innocent| text.contains(innocent)), "{text}");
    for token in ["[CARD_", "[PHONE_", "[EMAIL_", "[IBAN_", "[DIGITS_"] {
        assert!(text.contains(token), "{token}: {text}");
    }
}

/// As `planted_in`, of what no time, id or code has by chance.
fn planted_in_words(text: &str) -> Vec<&'static str> {
    planted_in(text)
        .into_iter()
        .filter(|planted| {
            !planted.bytes().all(|it| it.is_ascii_digit() || it.is_ascii_uppercase())
                && *planted != "doe"
                && *planted != "example"
        })
        .collect()
}

fn lossy(file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path.to_str().unwrap().to_owned()] })
        .collect()
}

#[tokio::test]
async fn nothing_planted_leaves_also_while_plugins_and_the_daemon_are_killed() {
    let nats = NatsServer::start().await;
    let (audio, service) = service_that_hears().await;
    let mut hark = redacting(&nats, &service).start().await;
    hark.drop_file("calls", "one.wav", &audio);
    let done = hark.next_event("job.completed").await;
    nothing_planted_left(&mut hark, done.job()).await;

    hark.drop_file("calls", "two.wav", &audio);
    let before = segments(&mut hark).await;
    for (count, kills_daemon) in [(2, false), (6, true), (10, false)] {
        wait_until("some segments", CEILING, async || segments(&mut hark).await >= before + count).await;
        if kills_daemon {
            hark.kill();
            hark.restart().await;
            continue;
        }
        let plugins = hark.process().children_named("hark-plugin");
        assert!(!plugins.is_empty(), "plugins run");
        for plugin in plugins.into_iter().filter_map(|plugin| Pid::from_raw(plugin.cast_signed())) {
            // One that ended meanwhile is as good as killed.
            assert!(matches!(kill_process(plugin, Signal::KILL), Ok(()) | Err(Errno::SRCH)));
        }
    }
    let done = hark.next_event("job.completed").await;
    nothing_planted_left(&mut hark, done.job()).await;

    assert_eq!(planted_in_words(&hark.log()), Vec::<&str>::new());
    hark.stop().await;
    let files = files(&hark.path("state"));
    assert!(files.iter().any(|file| file.ends_with("ledger.sqlite3")), "{files:?}");
    let left: Vec<String> =
        files.into_iter().filter(|file| !planted_in_words(&lossy(file)).is_empty()).collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn segments(hark: &mut Hark) -> usize {
    hark.events().await.iter().filter(|event| event.kind() == "transcript.segment").count()
}
