//! A plugin that emits or logs too much, or emits what it may not.

use std::time::{Duration, Instant};

use hark_sdk::testing::transcript;
use harkd::pipeline::Processed;

use super::{error_of, greeted, told};
use crate::plugins::{Plugins, data};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_never_stops_logging_is_ended_by_its_deadline() {
    let timeout = Duration::from_secs(1);
    for what in ["chatter", "flood"] {
        let plugins = Plugins::new().c("floods").timeout(timeout).rust("hello").start().await;
        let began = Instant::now();
        let talking = plugins.process(told(what));
        let processed = tokio::time::timeout(Duration::from_secs(20), talking).await.expect(what);
        let elapsed = began.elapsed();
        println!("{what}: it took {elapsed:?} with a timeout of {timeout:?}");
        assert!(elapsed < timeout + Duration::from_secs(2), "{what}: {elapsed:?}");
        assert_eq!(error_of(&processed, "floods"), "no answer within 1s (`timeout`)");
        assert!(greeted(&processed, "hello") && greeted(&plugins.process(told("nothing")).await, "floods"));
        plugins.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_logs_between_events_is_called_and_ended_all_the_same() {
    let plugins = Plugins::new().c("floods").timeout(Duration::from_secs(5)).start().await;
    assert!(greeted(&plugins.process(told("start talking")).await, "floods"));
    let asked = async {
        assert!(greeted(&plugins.process(told("nothing")).await, "floods"));
        plugins.stop().await;
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_logs_between_events_is_read_at_a_limited_rate() {
    let plugins = Plugins::new().c("floods").timeout(Duration::from_secs(5)).start().await;
    let lines = |processed: &Processed| data(processed, "floods").next().unwrap()["lines"].as_u64().unwrap();
    plugins.process(told("start talking")).await;
    // The plugin has a second to fill the socket, and goes on while it processes the next event.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = lines(&plugins.process(told("nothing")).await);
    assert!(said < 5_000, "{said} lines");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_events_are_refused_and_named_and_the_plugin_lives() {
    let plugins = Plugins::new().c("rubbish").timeout(Duration::from_secs(20)).rust("hello").start().await;
    let pid = plugins.status("rubbish").pid;
    for (what, count, words) in [
        ("nothing", "9 of its emissions", "a plugin cannot emit \"job.completed\""),
        ("a flood", "10000 of its emissions", "more than 20000 events for one"),
        ("a gigabyte", "11 of its emissions", "at most 1048576 are forwarded"),
    ] {
        let processed = plugins.process(transcript(&[what])).await;
        let error = error_of(&processed, "rubbish");
        assert!(error.starts_with(count) && error.contains(words), "{what}: {error}");
        assert!(greeted(&processed, "hello"));
        let forwarded = data(&processed, "rubbish").filter(|data| data.get("error").is_none()).count();
        assert_eq!(forwarded, if what == "a flood" { 20_000 } else { 0 }, "{what}");
    }
    assert_eq!(plugins.status("rubbish").pid, pid);
    let failures = ["rubbish", "error"].map(|reason| plugins.failures("rubbish", reason));
    assert_eq!(failures, [2, 1], "an event whose replacement was refused has failed");
    plugins.stop().await;
}
