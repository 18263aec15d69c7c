//! Plugins in a whole daemon: its start and its end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an unwrap here is an assertion of the test")]

#[path = "plugins/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod plugins;
mod support;

use plugins::Plugins;
use support::{CEILING, Emulator, Hark, NatsServer, wait_until, wav};

/// A `[[plugin]]` with a library of C.
fn entry(plugins: &Plugins, name: &str, lines: &str) -> String {
    let library = plugins.path().join(format!("{name}.so"));
    format!("[[plugin]]\nname = \"{name}\"\nlibrary = \"{}\"\n{lines}", library.display())
}

#[tokio::test]
async fn at_a_signal_plugins_end_in_good_order() {
    let nats = NatsServer::start().await;
    let service = Emulator::start(&[]).await;
    let plugins = Plugins::new().c("opens");
    let notes = plugins.path().join("notes");
    let lines = format!(
        "write = [\"{}\"]\n[plugin.config]\nwrite = \"{}\"\n",
        plugins.path().display(),
        notes.display()
    );
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
    let notes = plugins.path().join("notes");
    let lines = format!(
        "write = [\"{}\"]\n[plugin.config]\nwrite = \"{}\"\n",
        plugins.path().display(),
        notes.display()
    );
    let both = entry(&plugins, "hangs_in_create", "") + &entry(&plugins, "opens", &lines);
    let mut hark = Hark::new().nats(&nats).asr(&service).lines(&both).launch().await;
    wait_until("/healthz and the other plugin", CEILING, async || {
        notes.exists() && matches!(hark.get("/healthz").await, Some((200, _)))
    })
    .await;
    assert!(!hark.log().contains("loading took more than"), "it hangs still: {}", hark.log());
    assert!(hark.stop().await.success());
    assert!(!hark.log().contains("loading took more than"), "{}", hark.log());
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "the end\n");
}
