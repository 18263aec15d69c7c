//! Which library is loaded: at the start, later, and in place of an earlier library.

use std::path::Path;
use std::time::{Duration, Instant};

use hark_sdk::testing::transcript;
use harkd::pipeline::PluginState;

use super::{error_of, greeted, number_from, spread, told};
use crate::plugins::{self, Plugins, data};

#[tokio::test(flavor = "multi_thread")]
async fn hello_in_rust_and_in_c_greet_every_transcript() {
    let plugins = Plugins::new().rust("hello").c_file("hello_c", "../plugins/hello-c/hello.c").start().await;
    for status in plugins.statuses() {
        assert_eq!(status.state, PluginState::Running, "{:?}", status.reason);
    }
    let said = transcript(&["good morning"]);
    let processed = plugins.process(said.clone()).await;
    assert_eq!(processed.event, said);
    assert!(processed.held.is_none());
    let greetings: Vec<_> =
        processed.emitted.iter().map(|body| serde_json::to_value(body).unwrap()).collect();
    assert_eq!(
        greetings,
        [
            serde_json::json!({ "plugin": "hello", "data": { "greeting": "hello" } }),
            serde_json::json!({ "plugin": "hello_c", "data": { "greeting": "hello from C" } }),
        ]
    );
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_no_plugin_is_named_and_the_others_run() {
    let expected = [
        ("no_symbol", "exports no symbol \"hark_plugin\""),
        ("wrong_magic", "not with HARK_MAGIC"),
        ("wrong_major", "major version 7 of the plugin ABI, this daemon speaks 1"),
        ("too_small", "says size 24, less than the 56 bytes"),
        ("no_function", "has no function `on_event`"),
        ("create_fails", "create refused: key \"model\" is missing; name a file"),
        ("create_aborts", "its process ended (signal: 6 (SIGABRT)"),
    ];
    let mut plugins = Plugins::new();
    for (name, _) in expected {
        plugins = plugins.c(name);
    }
    let plugins = plugins.missing("not_there").c("moody").start().await;
    let processed = plugins.process(told("nothing")).await;
    for (name, words) in
        expected.into_iter().chain([("not_there", "does not exist; build or install it there")])
    {
        let status = plugins.status(name);
        assert_eq!(status.state, PluginState::Failed);
        let reason = status.reason.unwrap();
        assert!(reason.contains(words) && reason.contains(&format!("{name}.so")), "{name}: {reason}");
        assert_eq!(error_of(&processed, name), reason);
    }
    assert!(greeted(&processed, "moody"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_or_a_mode_that_does_not_fit_keeps_a_library_out() {
    let plugins = Plugins::new().c("moody").with(|plugin| plugin.sha256 = "00".repeat(32)).c("listens");
    let library = plugins.path().join("listens.so");
    std::fs::set_permissions(&library, std::os::unix::fs::PermissionsExt::from_mode(0o757)).unwrap();
    let plugins = plugins.start().await;
    let reason = plugins.status("moody").reason.unwrap();
    assert!(reason.contains("but the config pins 0000"), "{reason}");
    let reason = plugins.status("listens").reason.unwrap();
    assert!(reason.contains("has mode 0757") && reason.contains("chmod go-w"), "{reason}");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_comes_late_is_loaded_when_it_is_there() {
    let plugins = Plugins::new().missing("moody").start().await;
    assert_eq!(plugins.status("moody").state, PluginState::Failed);
    plugins.replace("moody", "moody.c", 1);
    plugins.until("moody", |status| status.state == PluginState::Running).await;
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_library_takes_over_between_two_events_and_none_is_skipped_or_doubled() {
    let reloads = number_from("HARK_RELOADS").unwrap_or(3);
    let plugins = Plugins::new().c("listens").start().await;
    let built: Vec<_> = (1..=2)
        .map(|version| {
            let library = plugins.folder.path().join(format!("version-{version}"));
            plugins::compile(Path::new("tests/plugins/listens.c"), &library, version);
            library
        })
        .collect();
    let (mut version, mut count, mut events) = (1, 0, 0);
    let mut taken_over = Vec::new();
    for reload in 1..=reloads {
        let next = 1 + reload % 2;
        plugins.put("listens", &built[next as usize - 1]);
        let began = Instant::now();
        while version != next {
            assert!(began.elapsed() < Duration::from_secs(10), "reload {reload} does not take over");
            let processed = plugins.process(told("nothing")).await;
            let said: Vec<_> = data(&processed, "listens").collect();
            assert_eq!(said.len(), 1, "{said:?}");
            if said[0]["version"] != version {
                (version, count) = (said[0]["version"].as_u64().unwrap(), 0);
            }
            (count, events) = (count + 1, events + 1);
            assert_eq!(said[0]["count"], count, "calls come one after the other, none twice");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        taken_over.push(began.elapsed());
    }
    assert_eq!(plugins.failures("listens", "crash"), 0);
    println!("{reloads} reloads under {events} events took {} each", spread(taken_over));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_replacement_is_refused_and_the_old_one_goes_on() {
    let plugins = Plugins::new().c("moody").start().await;
    let pid = plugins.status("moody").pid;
    plugins.replace("moody", "no_symbol.c", 2);
    let status = plugins.until("moody", |status| status.reason.is_some()).await;
    assert_eq!((status.state, status.pid), (PluginState::Running, pid));
    let reason = status.reason.unwrap();
    assert!(
        reason.starts_with("the new library was refused") && reason.contains("exports no symbol"),
        "{reason}"
    );
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));

    plugins.replace("moody", "moody.c", 3);
    let status = plugins.until("moody", |status| status.pid != pid).await;
    assert_eq!(status.reason, None);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_was_refused_for_its_mode_is_taken_when_that_is_mended() {
    use std::os::unix::fs::PermissionsExt;
    let plugins = Plugins::new().c("listens").start().await;
    let library = plugins.folder.path().join("listens.so");
    let beside = library.with_extension("new");
    plugins::compile(Path::new("tests/plugins/listens.c"), &beside, 2);
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::rename(&beside, &library).unwrap();
    let status = plugins.until("listens", |status| status.reason.is_some()).await;
    assert!(status.reason.unwrap().contains("mode"));
    let pid = status.pid;
    std::fs::set_permissions(&library, std::fs::Permissions::from_mode(0o644)).unwrap();
    plugins.until("listens", |status| status.pid != pid && status.reason.is_none()).await;
    let processed = plugins.process(told("nothing")).await;
    assert_eq!(data(&processed, "listens").next().unwrap()["version"], 2);
    plugins.stop().await;
}
