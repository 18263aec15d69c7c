//! Which events plugins receive, and what the daemon does with their answers.

use std::time::{Duration, Instant};

use hark_sdk::event::{Body, JobAccepted, Kind};
use hark_sdk::testing::{event, partial, transcript};

use harkd::job::piece_machine::Release;

use super::{error_of, greeted, told};
use crate::plugins::{Plugins, data};

#[tokio::test(flavor = "multi_thread")]
async fn plugins_receive_only_their_sources_and_kinds() {
    let plugins = Plugins::new()
        .c("listens")
        .rust("hello")
        .c("moody")
        .with(|plugin| plugin.sources = vec!["inbox".into()])
        .start()
        .await;
    let heard = plugins.process(told("nothing")).await;
    assert_eq!(data(&heard, "listens").next().unwrap()["heard"], "transcript.final");
    assert!(greeted(&heard, "hello") && data(&heard, "moody").next().is_none());
    let accepted = event(Body::JobAccepted(JobAccepted {
        route: "default".into(),
        retry_of: None,
        warnings: Vec::new(),
    }));
    let heard = plugins.process(accepted).await;
    assert_eq!(data(&heard, "listens").next().unwrap()["heard"], "job.accepted");
    assert_eq!(heard.emitted.len(), 1, "hello wants finals only");

    plugins.process(partial(1, "good")).await;
    let heard = plugins.process(told("nothing")).await;
    assert_eq!(data(&heard, "listens").next().unwrap()["count"], 4, "the partial was the third");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_of_one_event_and_costs_no_process() {
    let plugins = Plugins::new().c("moody").start().await;
    let before = plugins.status("moody").pid;
    for _ in 0..5 {
        assert_eq!(error_of(&plugins.process(told("error")).await, "moody"), "I do not like this one");
    }
    assert!(greeted(&plugins.process(told("nothing")).await, "moody"));
    assert_eq!(plugins.status("moody").pid, before);
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_plugin_fails_is_held_if_the_config_says_so() {
    let plugins = Plugins::new().rust("hello").c("moody").holding().start().await;
    let event = told("error");
    let processed = plugins.process(event.clone()).await;
    let held = processed.held.unwrap();
    assert_eq!((held.plugin.as_str(), held.reason.as_str()), ("moody", "I do not like this one"));
    assert_eq!(processed.event, event);
    assert!(processed.emitted.is_empty(), "a greeting now would come twice");
    assert!(plugins.process(told("segfault")).await.held.is_some());
    assert!(plugins.process(told("nothing")).await.held.is_none());
    plugins.stop().await;

    let plugins = Plugins::new().missing("redact").holding().start().await;
    let held = plugins.process(told("nothing")).await.held.unwrap();
    assert!(held.reason.contains("does not exist"), "{held:?}");
    assert_eq!(
        plugins.pipeline().of(uuid::Uuid::nil()).release("calls", &Kind::TranscriptPartial),
        Release::AfterPlugins
    );
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_comes_before_all_other_plugins() {
    let plugins = Plugins::new().c("moody").c("shout").start().await;
    let processed = plugins.process(told("segfault")).await;
    let Body::TranscriptFinal(transcript) = &processed.event.body else { panic!("{processed:?}") };
    assert_eq!(transcript.text, "SHOUTED");
    assert_eq!(transcript.segments.as_ref().unwrap()[0].text, "SHOUTED");
    assert!(greeted(&processed, "moody"), "it read the new text, which tells it nothing: {processed:?}");
    let release = plugins.pipeline().of(uuid::Uuid::nil()).release("calls", &Kind::TranscriptPartial);
    assert_eq!(release, Release::WithFinal, "the transform wants finals only");
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_that_leaves_a_segment_as_it_was_has_failed() {
    let forgetful = transcript(&["forget"]);
    let plugins = Plugins::new().c("shout").start().await;
    let processed = plugins.process(forgetful.clone()).await;
    assert_eq!(processed.event, forgetful);
    assert!(error_of(&processed, "shout").contains("0 segment texts for 1 segments"));
    let processed = plugins.process(transcript(&["endless"])).await;
    let error = error_of(&processed, "shout");
    assert!(error.contains("replace of 9437184 bytes; at most 8388608 are forwarded"), "{error}");
    plugins.stop().await;

    let plugins = Plugins::new().c("shout").holding().start().await;
    assert!(plugins.process(forgetful).await.held.is_some());
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_microseconds() {
    let plugins = Plugins::new().rust("hello").start().await;
    let mut single = Vec::new();
    for _ in 0..2_000 {
        let began = Instant::now();
        plugins.process(told("nothing")).await;
        single.push(began.elapsed());
    }
    single.sort();
    let began = Instant::now();
    let events: Vec<_> = (0..5_000).map(|_| told("nothing")).collect();
    let made = began.elapsed();
    let began = Instant::now();
    futures::future::join_all(events.into_iter().map(|event| plugins.process(event))).await;
    let many = began.elapsed() / 5_000;
    println!(
        "one call: median {:?}, p99 {:?}; of 5,000 at once: {many:?} each ({made:?} to make them)",
        single[1_000], single[1_980]
    );
    assert!(single[1_000] < Duration::from_millis(20));
    plugins.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_orderly_and_leaves_no_process() {
    let plugins = Plugins::new().c("moody").timeout(Duration::from_millis(300)).rust("hello").start().await;
    let pids: Vec<_> = plugins.statuses().into_iter().filter_map(|status| status.pid).collect();
    assert_eq!(pids.len(), 2);
    let began = Instant::now();
    plugins.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
