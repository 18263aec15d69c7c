//! `harkd doctor`: what is wrong is found by one command, which names the remedy, costs nothing and works beside a running daemon.

use std::path::Path;
use std::process::Command;

use async_nats::jetstream::stream::Config;

use crate::support::{Emulator, Hark, NatsServer, Setup, free_address, harkd, wav};
use serde_json::Value;

const KEY: &str = "sk-of-the-tests";

/// What the command printed, and its exit code.
struct Visit {
    code: Option<i32>,
    findings: Vec<Value>,
    said: String,
}

impl Visit {
    async fn with(config: &Path, variables: &[(&str, &str)]) -> Visit {
        let mut command = Command::new(harkd());
        command.arg("--config").arg(config).args(["doctor", "--json"]);
        command.env("DASHSCOPE_API_KEY", KEY).envs(variables.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        for finding in &findings {
            assert_eq!(finding["remedy"].is_null(), finding["level"] == "ok", "{finding}");
            assert!(!finding["message"].as_str().unwrap().is_empty(), "{finding}");
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!format!("{findings:?}{said}").contains(KEY));
        Visit { code: output.status.code(), findings, said }
    }

    async fn of(setup: &Setup) -> Visit {
        Visit::with(&setup.write_config(), &[]).await
    }

    fn finding(&self, check: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no finding {check:?}: {:#?}\n{}", self.findings, self.said))
    }

    /// The one error, and nothing else is one.
    fn only_error(&self) -> (&str, &str, &str) {
        let errors: Vec<&Value> =
            self.findings.iter().filter(|finding| finding["level"] == "error").collect();
        assert_eq!(errors.len(), 1, "{:#?}\n{}", self.findings, self.said);
        assert_eq!(self.code, Some(69), "{}", self.said);
        let text = |key: &str| errors[0][key].as_str().unwrap();
        (text("check"), text("message"), text("remedy"))
    }
}

async fn well() -> (NatsServer, Emulator, Setup) {
    let (nats, service) = (NatsServer::start().await, Emulator::start(&["--api-key", KEY]).await);
    // Limits that fit on any disk: with less room than is asked for, a warning would be right.
    let setup = Hark::new()
        .nats(&nats)
        .asr(&service)
        .set("nats.events_max_bytes", "\"64MiB\"")
        .set("state.max_size", "\"256MiB\"")
        .folder("calls")
        .inbox("inbox", "hark.audio.inbox")
        .plugin(
            "keywords",
            "keyword_alert",
            "config = { rules = [{ name = \"churn\", any = [\"cancel\"] }] }",
        );
    (nats, service, setup)
}

#[tokio::test]
async fn all_is_well_before_the_daemon_starts_beside_it_and_after_it() {
    let (_nats, service, setup) = well().await;
    std::fs::write(setup.path("calls").join("old.wav"), wav(1.0, 1)).unwrap();
    let before = Visit::of(&setup).await;
    assert_eq!(before.code, Some(0), "{:#?}{}", before.findings, before.said);
    assert!(!setup.path("state").exists(), "nothing is made");

    let mut hark = setup.start().await;
    let beside = Visit::with(&hark.config_file(), &[]).await;
    for check in [
        "config",
        "key",
        "flash",
        "filetrans",
        "clock",
        "nats",
        "rights",
        "sync",
        "stream HARK_EVENTS",
        "source calls",
        "source inbox",
        "state",
        "ffmpeg",
        "plugin keywords",
    ] {
        let finding = beside.finding(check);
        // ffmpeg may not be installed, and the disk of a busy machine may be slow.
        let is_slow = finding["message"].as_str().unwrap().contains("an fsync takes");
        let may_warn = check == "ffmpeg" || check == "state" && is_slow;
        assert!(finding["level"] == "ok" || may_warn && finding["level"] == "warning", "{finding}");
    }
    assert_eq!(beside.code, Some(0));
    hark.drop_file("calls", "new.wav", &wav(1.0, 2));
    hark.next_event("job.completed").await;
    assert!(hark.stop().await.success());
    assert_eq!(Visit::with(&hark.config_file(), &[]).await.code, Some(0));
    let bills = service.journal().iter().filter(|line| !line["charged_seconds"].is_null()).count();
    assert_eq!(bills, 1, "only the recording costs");
}

#[tokio::test]
async fn a_refused_key_names_the_region() {
    let (_nats, _service, setup) = well().await;
    let file = setup.write_config();
    let visit = Visit::with(&file, &[("DASHSCOPE_API_KEY", "sk-of-beijing")]).await;
    let (check, message, remedy) = visit.only_error();
    assert_eq!(check, "key");
    assert!(message.contains("InvalidApiKey"), "{message}");
    assert!(remedy.contains("singapore") && remedy.contains("dashscope.region"), "{remedy}");
    assert!(!format!("{visit:?}", visit = visit.findings).contains("sk-of-beijing"));
}

#[tokio::test]
async fn a_missing_key_and_a_wrong_model_are_told_apart() {
    let (_nats, _service, setup) = well().await;
    let file = setup.write_config();
    let visit = Visit::with(&file, &[("DASHSCOPE_API_KEY", "")]).await;
    assert_eq!(visit.only_error().0, "key");

    let setup = setup.set("dashscope.flash_model", "\"qwen3-asr-flash-2020-01-01\"");
    let visit = Visit::of(&setup).await;
    let (check, message, remedy) = visit.only_error();
    assert_eq!(check, "flash");
    assert!(message.contains("qwen3-asr-flash-2020-01-01"), "{message}");
    assert!(remedy.contains("dashscope.flash_model"), "{remedy}");

    let setup =
        setup.set("dashscope.flash_model", "\"\"").set("dashscope.filetrans_model", "\"fun-asr-2020-01-01\"");
    assert_eq!(Visit::of(&setup).await.only_error().0, "filetrans");
}

#[tokio::test]
async fn what_is_down_is_said_with_how_to_get_it() {
    let (nats, service, setup) = well().await;
    let nowhere = free_address();
    let setup = setup.set("nats.servers", &format!("[\"nats://{nowhere}\"]"));
    let visit = Visit::of(&setup).await;
    let (check, message, remedy) = visit.only_error();
    assert_eq!(check, "nats");
    assert!(message.contains(&nowhere.to_string()) && message.contains("refused"), "{message}");
    assert!(remedy.contains("docker run") && remedy.contains("nats.servers"), "{remedy}");

    let setup = setup.nats(&nats).set("dashscope.base_url", &format!("\"http://{nowhere}/api/v1\""));
    assert_eq!(Visit::of(&setup).await.only_error().0, "key");

    let own = format!(
        "[[recognizer]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"http://{nowhere}/v1\"\nmodel = \"whisper\"\n"
    );
    let visit = Visit::of(&setup.asr(&service).lines(&own)).await;
    let (check, _, remedy) = visit.only_error();
    assert_eq!(check, "recognizer gpu");
    assert!(remedy.contains("base_url"), "{remedy}");
}

#[tokio::test]
async fn a_missing_folder_is_a_warning_and_a_file_in_its_place_an_error() {
    let (_nats, _service, setup) = well().await;
    let folder = setup.path("calls");
    std::fs::remove_dir(&folder).unwrap();
    let visit = Visit::of(&setup).await;
    let finding = visit.finding("source calls");
    assert_eq!(finding["level"], "warning");
    assert!(
        finding["remedy"].as_str().unwrap().contains(&format!("mkdir -p {}", folder.display())),
        "{finding}"
    );
    assert_eq!(visit.code, Some(0), "a warning is no failure");

    std::fs::write(&folder, "").unwrap();
    assert_eq!(Visit::of(&setup).await.only_error().0, "source calls");
}

#[tokio::test]
async fn no_ffmpeg_is_a_warning_where_a_source_needs_it() {
    let (_nats, _service, setup) = well().await;
    let file = setup.write_config();
    let visit = Visit::with(&file, &[("PATH", "/nowhere")]).await;
    let finding = visit.finding("ffmpeg");
    assert_eq!(finding["level"], "warning");
    assert!(finding["remedy"].as_str().unwrap().contains("install ffmpeg"), "{finding}");
    assert_eq!(visit.code, Some(0));
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_to_is_an_error() {
    let (_nats, _service, setup) = well().await;
    // Not even root writes there.
    let setup = setup.set("state.directory", "\"/proc/sys\"");
    let visit = Visit::of(&setup).await;
    let finding = visit.finding("state");
    assert_eq!(finding["level"], "error", "{finding}");
    assert!(finding["message"].as_str().unwrap().contains("/proc/sys cannot be written to"), "{finding}");
    assert_eq!(visit.code, Some(69));

    let file = setup.path("a-file");
    std::fs::write(&file, "").unwrap();
    let setup = setup.set("state.directory", &format!("'{}'", file.join("state").display()));
    let visit = Visit::of(&setup).await;
    assert_eq!(visit.finding("state")["level"], "error");
}

#[tokio::test]
async fn a_plugin_that_does_not_load_is_an_error() {
    let (_nats, _service, setup) = well().await;
    let setup = setup.lines("[[plugin]]\nname = \"absent\"\nlibrary = \"absent\"\n");
    let visit = Visit::of(&setup).await;
    let (check, message, remedy) = visit.only_error();
    assert_eq!(check, "plugin absent");
    assert!(message.contains("libabsent.so"), "{message}");
    assert!(remedy.contains("install it"), "{remedy}");
}

#[tokio::test]
async fn rights_that_the_user_lacks_are_named_together() {
    let nats = NatsServer::configured(
        "authorization { users = [
            { user: hark, password: hark, permissions: { publish: { deny: [\"hark.event.>\", \"$JS.API.CONSUMER.CREATE.>\"] } } }
            { user: root, password: root }
        ] }\nno_auth_user: root",
    )
    .await;
    let service = Emulator::start(&[]).await;
    let server = nats.url().replace("//", "//hark:hark@");
    let setup = Hark::new().asr(&service).set("nats.servers", &format!("[\"{server}\"]")).folder("calls");
    let visit = Visit::of(&setup).await;
    let (check, message, _) = visit.only_error();
    assert_eq!(check, "rights");
    assert!(message.contains("hark.event.>, $JS.API") || message.contains("hark.event.>"), "{message}");
    assert!(message.contains("$JS.API.CONSUMER.CREATE.HARK_EVENTS"), "{message}");
    assert!(!format!("{:?}", visit.findings).contains("hark:hark"));
}

#[tokio::test]
async fn a_stream_that_loses_events_is_an_error_before_the_daemon_starts() {
    let (nats, _service, setup) = well().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let stream = |max_messages_per_subject| Config {
        name: "HARK_EVENTS".to_owned(),
        subjects: ["job", "annotation", "alert", "plugin", "transcript.segment", "transcript.final"]
            .map(|family| format!("hark.event.{family}.>"))
            .to_vec(),
        max_age: std::time::Duration::from_secs(3600),
        max_messages_per_subject,
        ..Default::default()
    };
    context.create_stream(stream(1)).await.unwrap();
    assert_eq!(Visit::of(&setup).await.only_error().0, "stream HARK_EVENTS");

    context.update_stream(stream(-1)).await.unwrap();
    let visit = Visit::of(&setup).await;
    let finding = visit.finding("stream HARK_EVENTS");
    assert_eq!(finding["level"], "warning", "{finding}");
    assert!(finding["message"].as_str().unwrap().contains("for 1h"), "{finding}");
    assert!(finding["remedy"].as_str().unwrap().contains("--max-age=90d"), "{finding}");
    context.update_stream(Config { max_messages: 10, ..stream(-1) }).await.unwrap();
    let visit = Visit::of(&setup).await;
    assert_eq!(visit.finding("stream HARK_EVENTS")["message"], "keeps at most 10 messages");
}

#[tokio::test]
async fn streams_that_lose_recordings_or_cannot_be_made_are_named() {
    let (nats, _service, setup) = well().await;
    let context = async_nats::jetstream::new(nats.client().await);
    let everything = Config { name: "ALL".into(), subjects: vec!["hark.>".into()], ..Config::default() };
    context.create_stream(everything).await.unwrap();
    let visit = Visit::of(&setup).await;
    for (check, subject) in [("stream HARK_EVENTS", "hark.event.job.>"), ("source inbox", "hark.audio.>")] {
        let finding = visit.finding(check);
        assert_eq!(finding["level"], "error", "{finding}");
        let end = format!("cannot be made: the stream ALL captures {subject}");
        assert!(finding["message"].as_str().unwrap().ends_with(&end), "{finding}");
    }

    context.delete_stream("ALL").await.unwrap();
    let audio = |max_age, max_message_size| Config {
        name: "HARK_AUDIO".into(),
        subjects: vec!["hark.audio.>".into()],
        max_age: std::time::Duration::from_secs(max_age),
        max_message_size,
        ..Config::default()
    };
    context.create_stream(audio(60, -1)).await.unwrap();
    let said = async || {
        let visit = Visit::of(&setup).await;
        let finding = visit.finding("source inbox");
        assert_eq!(finding["level"], "warning", "{finding}");
        finding["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(said().await, "HARK_AUDIO removes a message after 1m, heard or not");
    context.update_stream(audio(0, 1000)).await.unwrap();
    assert!(said().await.starts_with("HARK_AUDIO takes messages of at most 1000B"));
}

#[tokio::test]
async fn a_config_with_mistakes_is_not_connected_with() {
    let setup = Hark::new().lines("[dashscop]\n");
    let visit = Visit::of(&setup).await;
    assert_eq!((visit.code, visit.findings.len()), (Some(78), 0), "{}", visit.said);
    assert!(visit.said.contains("did you mean \"dashscope\"?"), "{}", visit.said);
}

#[tokio::test]
async fn a_person_reads_one_line_a_finding_without_colours_in_a_pipe() {
    let (_nats, _service, setup) = well().await;
    let file = setup.write_config();
    let mut command = Command::new(harkd());
    command.arg("--config").arg(&file).arg("doctor").env("DASHSCOPE_API_KEY", KEY);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 12, "{text}");
    let (last, findings) = lines.split_last().unwrap();
    assert!(findings.iter().all(|line| line.starts_with("ok ") || line.starts_with("warning ")), "{text}");
    assert!(*last == "all is well" || last.ends_with("warning"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}
