//! Plugins in a whole daemon: its start, its stop, and the jobs that a plugin holds.

use std::path::{Path, PathBuf};

use crate::plugins::{Plugins, compile};
use crate::support::{CEILING, Emulator, Hark, NatsServer, Stage, has_own_mounts, wait_until, wav};

/// A `[[plugin]]` table with a library compiled from C.
fn entry(plugins: &Plugins, name: &str, lines: &str) -> String {
    let library = plugins.path().join(format!("{name}.so"));
    format!("[[plugin]]\nname = \"{name}\"\nlibrary = \"{}\"\n{lines}", library.display())
}

/// The file into which the plugin `opens` writes at its end, and the lines of its entry that permit it.
fn notes_of(plugins: &Plugins) -> (PathBuf, String) {
    let notes = plugins.path().join("notes");
    let folder = plugins.path().display();
    let lines = format!("write = [\"{folder}\"]\n[plugin.config]\nwrite = \"{}\"\n", notes.display());
    (notes, lines)
}

#[tokio::test]
async fn at_a_signal_plugins_end_in_good_order() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let plugins = Plugins::new().c("opens");
    let (notes, lines) = notes_of(&plugins);
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.lines(&entry(&plugins, "opens", &lines)).start().await;
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    hark.next_event("job.completed").await;
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "");
    assert!(hark.stop().await.success());
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "the end\n");
}

#[tokio::test]
async fn while_a_plugin_hangs_in_create_the_daemon_answers_and_can_be_stopped() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let plugins = Plugins::new().c("hangs_in_create").c("opens");
    let (notes, lines) = notes_of(&plugins);
    let both = entry(&plugins, "hangs_in_create", "") + &entry(&plugins, "opens", &lines);
    let mut hark = Hark::new().nats(&nats).asr(&service).lines(&both).launch().await;
    wait_until("/healthz and the other plugin", CEILING, async || {
        hark.log().contains("plugin runs") && matches!(hark.get("/healthz").await, Some((200, _)))
    })
    .await;
    assert!(!hark.log().contains("loading took more than"), "it hangs still: {}", hark.log());
    assert!(hark.stop().await.success());
    assert!(!hark.log().contains("loading took more than"), "{}", hark.log());
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "the end\n");
}

#[tokio::test]
async fn while_a_plugin_that_hangs_is_enabled_the_daemon_can_be_stopped() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let plugins = Plugins::new().missing("late").c("opens");
    let (notes, lines) = notes_of(&plugins);
    let both = entry(&plugins, "late", "") + &entry(&plugins, "opens", &lines);
    let mut hark = Hark::new().nats(&nats).asr(&service).lines(&both).start().await;
    compile(Path::new("tests/plugins/hangs_in_create.c"), &plugins.path().join("late.so"), 1);
    let mut enable = hark.command(&["plugins", "enable", "late"]).spawn().unwrap();
    wait_until("it to be loaded", CEILING, async || {
        let page = hark.get("/metrics").await.map(|(_, page)| page).unwrap_or_default();
        page.contains("hark_plugin_state{plugin=\"late\",state=\"loading\"} 1")
    })
    .await;
    assert!(hark.stop().await.success());
    assert!(!hark.log().contains("some tasks did not end in time"), "{}", hark.log());
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "the end\n");
    enable.kill().unwrap();
    enable.wait().unwrap();
}

#[tokio::test]
async fn a_job_that_a_plugin_holds_is_logged_once_and_the_plugins_events_are_kept() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let plugins = Plugins::new().c("gives_up");
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.lines(&entry(&plugins, "gives_up", "on_failure = \"hold\"\n")).start().await;
    let become_version = |version| {
        let library = plugins.path().join("gives_up.so");
        compile(Path::new("tests/plugins/gives_up.c"), &library.with_extension("new"), version);
        std::fs::rename(library.with_extension("new"), &library).unwrap();
    };
    hark.drop_file("calls", "a.wav", &wav(1.0, 1));
    let held = hark.next_event("job.retrying").await;
    let error = &held.body["error"];
    assert_eq!((&error["blame"], &error["code"]), (&"plugin".into(), &"PluginHolds".into()));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("\"gives_up\" could not look") && !message.contains("Canary"), "{message}");
    wait_until("the plugin to be asked again", CEILING, async || {
        let page = hark.get("/metrics").await.map(|(_, page)| page).unwrap_or_default();
        page.contains("hark_plugin_failures_total{plugin=\"gives_up\",reason=\"error\"} 3")
    })
    .await;

    become_version(2);
    let held = hark.next_event("job.retrying").await;
    assert!(held.body["error"]["message"].as_str().unwrap().contains("is quarantined"), "{}", held.body);

    become_version(3);
    let done = hark.next_event("job.completed").await;
    let events = hark.events_of(done.job()).await;
    assert_eq!(events.iter().filter(|event| event.kind() == "job.retrying").count(), 2);
    let log = hark.log();
    assert_eq!(
        log.matches("the job is held back until the plugin has processed its transcript").count(),
        2,
        "{log}"
    );
    assert!(!log.contains("Canary"), "{log}");
}

#[tokio::test]
async fn an_operator_ends_a_quarantine() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "0ms"]).await;
    let plugins = Plugins::new().c("moody");
    let setup = Hark::new().nats(&nats).asr(&service).folder("calls");
    let mut hark = setup.lines(&entry(&plugins, "moody", "")).start().await;
    let said = async |hark: &mut Hark, name: &str, seed| {
        hark.drop_file("calls", name, &wav(1.0, seed));
        hark.next_event("plugin.moody").await.body["data"].clone()
    };
    for seed in 1..=2 {
        assert!(said(&mut hark, &format!("do abort {seed}.wav"), seed).await["error"].is_string());
    }
    assert_eq!(said(&mut hark, "do abort 3.wav", 3).await["quarantined"], true);
    let enable = async |hark: &Hark, name: &str| {
        let mut command = hark.command(&["plugins", "enable", name]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = enable(&hark, "moody").await;
    assert!(code == Some(0) && out.ends_with("moody was quarantined, is running\n"), "{out}");
    assert_eq!(said(&mut hark, "b.wav", 4).await["greeting"], "hello");
    let (code, out, _) = enable(&hark, "moody").await;
    assert!(code == Some(0) && out.ends_with("moody is running\n"), "{out}");

    let (code, _, error) = enable(&hark, "angry").await;
    assert!(code == Some(64) && error.contains("it has moody"), "{error}");
    assert!(hark.stop().await.success());
    let (code, _, error) = enable(&hark, "moody").await;
    assert!(code == Some(69) && error.contains("no running harkd"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_fills_the_ledgers_disk_is_ended_and_nothing_else_notices() {
    if !has_own_mounts(
        "plugins_in_the_daemon::a_plugin_that_fills_the_ledgers_disk_is_ended_and_nothing_else_notices",
    ) {
        return;
    }
    let plugins = Plugins::new().c("hoards");
    let mut stage = Stage::set(&["--token-delay", "0ms"], |setup| {
        let own = setup.path("state/plugins/hoards").display().to_string();
        let lines = format!("[plugin.config]\npath = \"{own}\"\n");
        setup.small_disk("state", 32 << 20).folder("calls").lines(&entry(&plugins, "hoards", &lines))
    })
    .await;
    let folder = stage.hark.path("state/plugins/hoards");
    stage.hark.drop_file("calls", "do hoard.wav", &wav(1.0, 1_000));
    wait_until("the quarantine", CEILING, async || stage.hark.log().contains("plugin quarantined")).await;
    let log = stage.hark.log();
    assert!(log.contains(&format!("its folder {} held more than 4194304 bytes", folder.display())), "{log}");
    wait_until("room", CEILING, async || {
        stage.hark.log().contains("the newest files of the plugin's own folder were removed")
    })
    .await;
    stage.hark.ready().await;
    stage.drop_files(5);
    assert_eq!(stage.hark.ended_jobs(6).await.iter().filter(|end| end.kind() == "job.completed").count(), 6);
}

/// Stops a daemon while the service sends a text so slowly that the drain ends before the text does; returns the log.
async fn stopped_in_the_middle_of_a_stream(lines: &str) -> String {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&["--token-delay", "60s"]).await;
    let mut hark = Hark::new().nats(&nats).asr(&service).folder("calls").lines(lines).start().await;
    hark.drop_file("calls", "a.wav", &wav(3.0, 1));
    hark.next_event("job.submitted").await;
    assert!(hark.stop().await.success());
    let log = hark.log();
    assert!(log.contains("some tasks did not end in time"), "{log}");
    log
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_stream_lets_plugins_end_and_logs_none_if_there_are_none() {
    let plugins = Plugins::new().c("opens");
    let (notes, lines) = notes_of(&plugins);
    let with_plugin = entry(&plugins, "opens", &lines);
    let (with, without) =
        tokio::join!(stopped_in_the_middle_of_a_stream(&with_plugin), stopped_in_the_middle_of_a_stream(""),);
    assert!(!with.contains("killed"), "{with}");
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "the end\n");
    assert!(!without.contains("plugin"), "{without}");
}
