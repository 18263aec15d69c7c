//! Plugins in real processes, broken ones above all: whatever a plugin does, the transcript and the other plugins' events flow on.
#![allow(clippy::unwrap_used, reason = "an unwrap in a test is the assertion")]

#[path = "plugins/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test uses its part; `pub` means: for the test")]
mod plugins;

use std::time::{Duration, Instant};

use hark_sdk::event::Event;
use hark_sdk::testing::transcript;

use harkd::pipeline::{PluginState, Processed};

use plugins::{Plugins, data};

/// The word that decides what `moody` does.
fn told(what: &str) -> Event {
    transcript(&[&format!("do {what}")])
}

fn error_of(processed: &Processed, plugin: &str) -> String {
    let error = data(processed, plugin).find_map(|data| Some(data["error"].as_str()?.to_owned()));
    error.unwrap_or_else(|| panic!("no error of {plugin} in {:?}", processed.emitted))
}

fn greeted(processed: &Processed, plugin: &str) -> bool {
    data(processed, plugin).any(|data| data.get("greeting").is_some())
}

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
        ("create_aborts", "its process was ended by signal 6 (SIGABRT"),
    ];
    let mut plugins = Plugins::new();
    for (name, _) in expected {
        plugins = plugins.c(name);
    }
    let plugins = plugins.missing("not_there").c("moody").start().await;
    let processed = plugins.process(told("nothing")).await;
    for (name, words) in expected.into_iter().chain([("not_there", "does not exist; install it there")]) {
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
async fn a_death_is_an_event_of_that_plugin_and_the_next_call_finds_a_new_process() {
    for (what, words) in [
        ("segfault", "signal 11 (SIGSEGV)"),
        ("abort", "signal 6 (SIGABRT"),
        ("exit", "exited with status 3"),
        ("overflow", "signal 6 (SIGABRT"),
        ("devour", "signal 11 (SIGSEGV)"),
        ("fail", "it failed: beyond repair"),
        ("nonsense", "it failed: it did not say why"),
    ] {
        let plugins = Plugins::new().c("moody").rust("hello").start().await;
        let began = Instant::now();
        let processed = plugins.process(told(what)).await;
        let error = error_of(&processed, "moody");
        assert!(error.contains(words), "{what}: {error}");
        assert!(greeted(&processed, "hello"), "{what}");
        assert!(greeted(&plugins.process(told("nothing")).await, "moody"), "{what}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
        println!("{what}: two deaths, two replacements and two answers took {:?}", began.elapsed());
        plugins.stop().await;
    }
}
