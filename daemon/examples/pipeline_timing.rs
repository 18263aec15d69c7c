//! What it costs to have an event looked at by a plugin in a process of its own, for `cargo xtask bench pipeline`: one JSON object on stdout.
//!
//! Arguments: `harkd`, which runs the plugin, and the library of the plugin `hello`. The same plugin, called through its C functions in this
//! process, is what the figures are compared with: JSON is read and written there too.
#![allow(clippy::print_stdout, reason = "the program's result")]

use std::path::PathBuf;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hark_sdk::event::Event;
use hark_sdk::testing::{Bench, transcript};
use hark_sdk::{Error, Host, Plugin, Transcript};
use harkd::pipeline::{Pipeline, PluginEnvironment, Processed};
use harkd::telemetry::metrics::Metrics;
use serde_json::json;

const ALONE: usize = 5_000;
const TOGETHER: usize = 50_000;

/// How many recordings end at the same time: more than a frame has events.
const AT_ONCE: usize = 256;

/// As the plugin `hello`.
struct Hello;

impl Plugin for Hello {
    fn create(_config: &str) -> Result<Self, Error> {
        Ok(Hello)
    }

    fn on_final(&mut self, _transcript: &Transcript, host: &Host) -> Result<(), Error> {
        host.annotate("greeting", "hello")
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(executable), Some(library)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pipeline_timing HARKD LIBRARY".into());
    };
    let event = transcript(&["good morning, how may I help you"]);

    let mut bench = Bench::<Hello>::create("{}")?;
    let began = Instant::now();
    for _ in 0..ALONE {
        let heard = bench.hand(&event).map_err(|failure| failure.message)?;
        assert_eq!(heard.emitted.len(), 1);
    }
    let function_us = micros(began, ALONE);

    let folder = tempfile::tempdir()?;
    let environment =
        PluginEnvironment { executable, ..PluginEnvironment::new(&folder.path().join("state")) };
    let plugin = serde_json::from_value(json!({ "name": "hello", "library": library }))?;
    let pipeline = Pipeline::start_in(&environment, &[plugin], &Default::default(), Metrics::new());
    pipeline.loaded().await;
    for _ in 0..ALONE / 10 {
        process(&pipeline, &event).await;
    }

    let mut single = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        let began = Instant::now();
        process(&pipeline, &event).await;
        single.push(micros(began, 1));
    }
    single.sort_by(f64::total_cmp);

    let began = Instant::now();
    let mut under_way = FuturesUnordered::new();
    for _ in 0..TOGETHER {
        if under_way.len() == AT_ONCE {
            under_way.next().await;
        }
        under_way.push(process(&pipeline, &event));
    }
    while under_way.next().await.is_some() {}
    let batched_us = micros(began, TOGETHER);
    drop(under_way);
    pipeline.stop().await;
    println!(
        "{}",
        json!({ "function_us": function_us, "alone_us": single[ALONE / 2], "batched_us": batched_us })
    );
    Ok(())
}

async fn process(pipeline: &Pipeline, event: &Event) {
    let Processed { emitted, .. } = pipeline.process(event.clone(), || std::future::ready(Vec::new())).await;
    assert_eq!(emitted.len(), 1, "the greeting");
}

fn micros(began: Instant, events: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / events as f64
}
