//! What a plugin's process may do, and what it may not.

use std::time::{Duration, Instant};

use harkd::pipeline::PluginState;

use super::{error_of, greeted, number_from, told};
use crate::plugins::{Plugins, data};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_may_start_threads_and_has_no_processes_connections_or_environment() {
    let plugins = Plugins::new().c("moody").c("threads").start().await;
    let refused = [
        "fork",
        "system",
        "getenv",
        "connect",
        "chmod",
        "touch",
        "truncate",
        "own",
        "lease",
        "renice",
        "share",
        "anonymous",
        "memfd",
    ];
    for what in refused {
        let processed = plugins.process(told(what)).await;
        assert_eq!(data(&processed, "moody").next().unwrap()[what], "refused", "{:?}", processed.emitted);
        assert_eq!(data(&processed, "threads").next().unwrap()["thread"], "done");
    }
    plugins.stop().await;

    let plugins = Plugins::new().c("moody").with(|plugin| plugin.network = true).start().await;
    assert_eq!(data(&plugins.process(told("connect")).await, "moody").next().unwrap()["connect"], "done");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_has_a_session_and_so_a_share_of_the_processor_of_its_own() {
    let plugins = Plugins::new().c("moody").start().await;
    let plugin = rustix::process::Pid::from_raw(plugins.status("moody").pid.unwrap().cast_signed());
    assert_eq!(rustix::process::getsid(plugin).ok(), plugin);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_writes_to_its_own_folder_and_to_those_it_was_granted_only() {
    let granted = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let opened = async |path: std::path::PathBuf, what: &str| {
        let plugins = Plugins::new();
        let path = if path.is_relative() { plugins.path().join(path) } else { path };
        let plugins = plugins.c("writes").with(|plugin| {
            plugin.config.insert("path".into(), path.display().to_string().into());
            plugin.write.push(granted.path().into());
        });
        std::fs::create_dir_all(plugins.path().join("state")).unwrap();
        std::fs::write(plugins.path().join("state/ledger"), "texts").unwrap();
        let plugins = plugins.start().await;
        let processed = plugins.process(told(what)).await;
        let opened = data(&processed, "writes").next().unwrap()["opened"].as_bool().unwrap();
        plugins.stop().await;
        opened
    };
    assert!(opened(granted.path().join("call.srt"), "write").await);
    assert!(opened("state/plugins/writes/notes".into(), "write").await);
    assert!(!opened(elsewhere.path().join("call.srt"), "write").await);
    assert!(!opened("state/ledger".into(), "write").await);
    assert!(!opened("state/ledger".into(), "read").await);
    assert!(opened("/etc/hostname".into(), "read").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_grows_to_the_memory_limit_and_no_further() {
    let plugins = Plugins::new();
    let path = plugins.path().join("state/plugins/writes/notes").display().to_string();
    let plugins = plugins.c("writes").with(|plugin| {
        plugin.config.insert("path".into(), path.into());
        plugin.memory_limit = 16 << 20;
    });
    let plugins = plugins.start().await;
    let processed = plugins.process(told("fill")).await;
    assert!(error_of(&processed, "writes").contains("signal: 25 (SIGXFSZ)"), "{processed:?}");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_what_a_file_may_hold_and_a_plugin_that_fills_it_is_ended() {
    let plugins = Plugins::new();
    let own = plugins.path().join("state/plugins/hoards");
    let plugins = plugins.c("hoards").with(|plugin| {
        plugin.config.insert("path".into(), own.display().to_string().into());
        plugin.memory_limit = 16 << 20;
    });
    let plugins = plugins.rust("hello").start().await;
    std::fs::write(own.join("model"), "of an earlier day").unwrap();
    let processed = plugins.process(told("hoard")).await;
    assert!(greeted(&processed, "hoards") && greeted(&processed, "hello"));
    let status = plugins.until("hoards", |status| status.state == PluginState::Quarantined).await;
    let reason = status.reason.unwrap();
    assert!(
        reason.contains(&format!("its folder {} held more than 16777216 bytes", own.display())),
        "{reason}"
    );
    assert_eq!(plugins.failures("hoards", "folder"), 1);

    let held = || {
        let files = std::fs::read_dir(&own).unwrap().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>()
    };
    let began = Instant::now();
    while held() > 16 << 20 {
        assert!(began.elapsed() < Duration::from_secs(10), "{} bytes stay", held());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let processed = plugins.process(told("hoard")).await;
    assert!(error_of(&processed, "hoards").contains("its folder"), "{processed:?}");
    assert!(greeted(&processed, "hello"));
    let enabled = plugins.pipeline().enable("hoards").await.unwrap();
    assert_eq!(enabled.state, PluginState::Running, "what is left is no more than it may keep: {enabled:?}");
    assert!(own.join("model").exists());
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_leaks_bombs_and_scribbles_stay_inside() {
    // Memory for some hundred threads.
    let little = |plugin: &mut harkd::config::Plugin| plugin.memory_limit = 16 << 20;
    for what in ["print", "leak", "babble", "bomb"] {
        for _ in 0..number_from("HARK_DEATHS").unwrap_or(1) {
            let plugins = Plugins::new().c("moody").with(little).rust("hello").start().await;
            for word in [what, "nothing"] {
                let processed = plugins.process(told(word)).await;
                assert!(
                    greeted(&processed, "moody") && greeted(&processed, "hello"),
                    "{what}: {processed:?}"
                );
            }
            assert_eq!(
                plugins.failures("moody", "crash"),
                0,
                "{what} costs the plugin's own process nothing"
            );
            plugins.stop().await;
        }
    }
    let plugins = Plugins::new().c("moody").rust("hello").start().await;
    // The plugin writes into every descriptor, also into the daemon's socket: the daemon cannot parse that frame and replaces the process.
    let processed = plugins.process(told("scribble")).await;
    assert!(error_of(&processed, "moody").contains("it wrote into the daemon's socket"), "{processed:?}");
    assert!(greeted(&processed, "hello"));
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_counts_when_it_is_used_and_addresses_do_not() {
    let plugins = Plugins::new().c("reserves").start().await;
    let status = plugins.status("reserves");
    assert_eq!(status.state, PluginState::Running, "{:?}", status.reason);
    let processed = plugins.process(told("nothing")).await;
    assert_eq!(data(&processed, "reserves").next().unwrap()["memory"], "refused");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_for_want_of_memory_is_reported_with_the_limit() {
    let plugins = Plugins::new().c("create_aborts").start().await;
    let reason = plugins.status("create_aborts").reason.unwrap();
    assert!(reason.contains("signal: 6 (SIGABRT)") && reason.contains("raise `memory_limit`"), "{reason}");
    plugins.stop().await;
}
