//! Names, messages and plugin texts with terminal escapes, line breaks and bidirectional overrides: the log and every command print them
//! escaped; a program that parses the JSON output gets them as they are.

use std::process::Output;

use crate::plugins::Plugins;
use crate::support::{CEILING, Emulator, Hark, NatsServer, Process, wait_until, wav};
use harkd::telemetry::logging::readable;
use serde_json::Value;

/// A name with hostile characters of every kind that a file name may have (all but `/` and NUL).
const DISGUISE: &str =
    "\x1b]0;owned\x07\nharkd: all is well \u{9b}2J \u{202e}gnaw\u{2066}\u{200b}\u{2028}\u{feff}";

/// Asserts that text for a terminal has no control characters and no forged lines.
fn assert_plain(place: &str, text: &str) {
    for line in text.lines() {
        assert_eq!(readable(line), line, "{place}");
        assert!(!line.starts_with("harkd: all is well"), "{place}: {text}");
    }
}

fn text_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap()).concat()
}

#[tokio::test]
async fn names_and_words_from_outside_are_escaped_in_the_log_and_by_every_command() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "1ms"]).await;
    let plugins = Plugins::new().c("disguises");
    let library = plugins.path().join("disguises.so").display().to_string();
    let plugin = format!("[[plugin]]\nname = \"disguises\"\nlibrary = \"{library}\"\n");
    let setup = Hark::new().nats(&nats).asr(&service).folder_with("calls", "rescan = \"1s\"");
    let mut hark = setup.inbox("inbox", "hark.audio.inbox").lines(&plugin).start().await;

    let tail = |name: &str, arguments: &[&str]| {
        Process::start(name, &mut hark.command(&[&["tail", "--all"], arguments].concat()), &hark.path(""))
    };
    let (lines, json) = (tail("tail", &[]), tail("tail-json", &["--json"]));
    hark.drop_file("calls", &format!("{DISGUISE}.wav"), &wav(1.0, 1));
    let broken = hark.drop_file("calls", &format!("{DISGUISE} broken.wav"), b"no audio at all");
    hark.drop_file("calls", &format!("{DISGUISE}.raw"), b"not in `include`");
    hark.ended_jobs(2).await;
    wait_until("the file that is left alone", CEILING, async || hark.log().contains("the file is ignored"))
        .await;

    let mut submit = hark.command(&["submit", "--wait"]);
    submit.arg(&broken);
    let submitted = tokio::task::spawn_blocking(move || submit.output()).await.unwrap().unwrap();
    assert_eq!(submitted.status.code(), Some(1));
    assert_plain("submit --wait", &text_of(&submitted));
    assert!(text_of(&submitted).contains("\\u{202e}gnaw"), "{submitted:?}");

    for (name, tail) in [("tail", &lines), ("tail --json", &json)] {
        wait_until(name, CEILING, async || tail.log().matches("owned").count() >= 8).await;
        assert_plain(name, &tail.log());
    }
    let log = json.log();
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let name = format!("{DISGUISE}.wav");
    assert!(events.iter().any(|event| event["recording"]["name"] == name.as_str()), "{log}");

    let log = hark.log();
    assert_plain("the log", &log);
    assert!(log.contains("\\u{1b}]0;owned\\u{7}\\nharkd: all is well \\u{9b}2J \\u{202e}gnaw"), "{log}");
    assert!(log.lines().all(|line| line.starts_with("20")), "each line begins with its time: {log}");

    for arguments in
        [&["plugins", "list"][..], &["plugins", "list", "--json"], &["plugins", "check", &library]]
    {
        let output = hark.command(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_plain(&arguments.join(" "), &text_of(&output));
        assert!(text_of(&output).contains("owned"), "{output:?}");
    }
    let config = std::fs::read_to_string(hark.config_file()).unwrap();
    let mistaken = format!("[dashscope]\n\"\\u001b[2J\\u202e\\n\" = 1\nregion = \"\\u001b[2J\"\n{config}");
    std::fs::write(hark.config_file(), mistaken).unwrap();
    for arguments in [&["check"][..], &["check", "--json"], &["run"], &["tail"]] {
        let output = hark.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert_plain(&arguments.join(" "), &text_of(&output));
    }
}
