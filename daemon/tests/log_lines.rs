//! The log as an operator reads it: each event once, with the fields that the operator needs to act.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::plugins::Plugins;
use crate::support::{
    CEILING, Emulator, Hark, LedgerRecord, NatsServer, Process, harkd, has_own_mounts, publish, wait_until,
    wav,
};
use async_nats::jetstream;
use serde_json::Value;

#[tokio::test]
async fn partials_that_the_server_refuses_are_one_warning_a_minute() {
    let nats = NatsServer::configured(
        "authorization { users = [{ user: u, password: p, permissions: { publish: { deny: [\"hark.event.transcript.partial.>\"] } } }] }\n\
         no_auth_user: u",
    )
    .await;
    let service = Emulator::start(&["--token-delay", "10ms"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").start().await;
    for seed in 1..=3 {
        hark.drop_file("calls", &format!("{seed}.wav"), &wav(3.0, seed));
    }
    hark.ended_jobs(3).await;
    assert!(hark.stop().await.success());
    let log = hark.log();
    let refusals: Vec<&str> = log.lines().filter(|line| line.contains("ermissions")).collect();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert!(
        refusals[0].contains("hark.event.transcript.partial.calls.") && refusals[0].contains("times=1"),
        "{log}"
    );
}

#[tokio::test]
async fn in_the_journal_each_line_has_its_priority() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    for format in ["human", "json"] {
        let setup =
            Hark::new().nats(&nats).asr(&service).folder("calls").set("log.format", &format!("\"{format}\""));
        // The file that standard error is redirected to.
        let stream = std::fs::File::create(setup.path("harkd.log")).unwrap().metadata().unwrap();
        let name = format!("{}:{}", stream.dev(), stream.ino());
        let broken = setup.path("key");
        std::fs::write(&broken, "sk-1").unwrap();
        let setup = setup.set("dashscope.api_key_file", &format!("\"{}\"", broken.display()));
        std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut hark = setup.environment("JOURNAL_STREAM", &name).start().await;
        assert!(hark.stop().await.success());
        let log = hark.log();
        let first = log.lines().next().unwrap();
        assert!(first.starts_with("<6>") && first.contains(env!("CARGO_PKG_VERSION")), "{log}");
        assert!(
            log.lines().any(|line| line.starts_with("<4>") && line.contains("is open to all users")),
            "{log}"
        );
        assert!(log.lines().all(|line| ["<3>", "<4>", "<6>", "<7>"].contains(&&line[..3])), "{log}");
    }
}

#[tokio::test]
async fn the_version_is_in_the_first_line_and_in_the_metrics() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let hark = Hark::new().nats(&nats).asr(&service).start().await;
    let log = hark.log();
    let first = log.lines().next().unwrap();
    assert!(first.contains("harkd starts version=\"0.1.0\"") && first.starts_with("20"), "{log}");
    let page = hark.get("/metrics").await.unwrap().1;
    assert!(page.contains("hark_build_info{version=\"0.1.0\"} 1"), "{page}");
}

/// A line of JSON, parsed, if it has the field `job`.
fn of_a_job(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    line.get("job").is_some().then_some(line)
}

#[tokio::test]
async fn each_line_of_a_job_has_job_and_source_and_a_failed_job_has_its_reason() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--task-delay", "300ms", "--token-delay", "5ms"]).await;
    let plugins = Plugins::new().c("moody");
    let library = plugins.path().join("moody.so");
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").folder_with("long", "route = \"long\"");
    let setup = setup.inbox("inbox", "hark.audio.inbox").lines(&format!(
        "[[route]]\nname = \"long\"\nengine = \"filetrans\"\n[[plugin]]\nname = \"moody\"\nlibrary = {library:?}\n"
    ));
    let setup = setup.set("log.format", "\"json\"").set("log.level", "\"info,harkd=trace\"");
    let mut hark = setup.start().await;
    hark.drop_file("calls", "do abort.wav", &wav(1.0, 1));
    hark.drop_file("calls", "broken.wav", b"no audio at all");
    hark.drop_file("long", "a.wav", &wav(1.0, 2));
    let context = jetstream::new(nats.client().await);
    publish(&context, "hark.audio.inbox", &[("Content-Type", "audio/wav")], wav(1.0, 3)).await;
    publish(&context, "hark.audio.inbox", &[("Content-Type", "application/json")], b"{}".to_vec()).await;
    let ended = hark.ended_jobs(5).await;
    assert!(hark.stop().await.success());

    let log = hark.log();
    let lines: Vec<Value> = log.lines().filter_map(of_a_job).collect();
    assert!(lines.len() > 20, "{log}");
    for line in &lines {
        assert!(line["source"].is_string(), "{line}");
    }
    for source in ["calls", "long", "inbox"] {
        assert!(lines.iter().any(|line| line["source"] == source), "{source}: {log}");
    }
    assert!(lines.iter().any(|line| line["message"] == "plugin process replaced"), "{log}");
    let failed: Vec<_> = ended.iter().filter(|event| event.kind() == "job.failed").collect();
    assert_eq!(failed.len(), 2);
    for event in failed {
        let told = lines.iter().find(|line| line["job"] == event.job() && line["failed"] == true).unwrap();
        let error = &event.body["error"];
        assert_eq!((&told["code"], &told["blame"]), (&error["code"], &error["blame"]), "{told}");
        assert_eq!((&told["error"], &told["level"]), (&error["message"], &"warn".into()), "{told}");
        assert_eq!(told["source"], event.body["source"]);
    }
}

#[tokio::test]
async fn a_full_disk_is_called_a_full_disk() {
    if !has_own_mounts("log_lines::a_full_disk_is_called_a_full_disk") {
        return;
    }
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls").small_disk("state", 8 << 20);
    let mut hark = setup.start().await;
    // After the writes of the start: one that failed would be what the daemon says first.
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    wait_until("the job to be settled", CEILING, async || {
        let ledger = LedgerRecord::read(&hark.path("state"));
        ledger.jobs.len() == 1 && ledger.open().next().is_none() && ledger.outbox_rows == 0
    })
    .await;
    hark.disk("state").fill();
    hark.not_ready("the disk of state.directory is nearly full and sources wait; make room on it").await;
    wait_until("the log to say so", CEILING, async || {
        hark.log().contains("the disk of state.directory is nearly full and sources wait; make room on it")
    })
    .await;
    hark.disk("state").empty();
    hark.ready().await;
    let log = hark.log();
    assert!(!log.contains("state.max_size"), "{log}");
    assert!(log.contains("the state directory has room again"), "{log}");
}

#[tokio::test]
async fn the_log_says_ready_when_it_is_and_how_long_it_was_not() {
    let mut nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    nats.kill();
    let mut command = Command::new(harkd());
    command.arg("--config").arg(setup.write_config()).arg("run").env("DASHSCOPE_API_KEY", "sk-of-the-tests");
    let mut daemon = Process::start("harkd", &mut command, &setup.path(""));
    let said =
        |daemon: &Process, words: &str| daemon.log().lines().filter(|line| line.contains(words)).count();
    wait_until("it to have started", CEILING, async || said(&daemon, "reports: started") == 1).await;
    assert_eq!(said(&daemon, "reports: ready"), 0, "{}", daemon.log());
    nats.restart().await;
    wait_until("it to be ready", CEILING, async || said(&daemon, "reports: ready after_seconds=") == 1).await;
    nats.kill();
    wait_until("the outage", CEILING, async || said(&daemon, "reports: not ready reasons=\"nats: ") == 1)
        .await;
    nats.restart().await;
    wait_until("the end of the outage", CEILING, async || {
        said(&daemon, "reports: ready outage_seconds=") == 1
    })
    .await;
    assert!(daemon.terminate(CEILING).await.success());
    assert_eq!(said(&daemon, "reports: not ready"), 1, "a stop is no outage: {}", daemon.log());
}
