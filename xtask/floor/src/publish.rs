//! The least that a word can take: from a publisher's call through NATS to the subscriber.

use std::time::Duration;

use async_nats::Client;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::event::{body, headers, now_ns, recording, subject};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    streams: usize,
    #[arg(long)]
    words: usize,
    /// Milliseconds between two words of a stream
    #[arg(long)]
    every_ms: u64,
}

/// Each stream sends its words at its own pace, begun at its own moment.
pub(crate) async fn run(client: Client, options: Options) -> anyhow::Result<()> {
    let mut streams = JoinSet::new();
    let pace = Duration::from_millis(options.every_ms);
    for number in 0..options.streams {
        let (client, words) = (client.clone(), options.words);
        let begin = pace.mul_f64(number as f64 / options.streams as f64);
        streams.spawn(async move {
            tokio::time::sleep(begin).await;
            speak(client, words, pace).await
        });
    }
    while let Some(spoken) = streams.join_next().await {
        spoken??;
    }
    client.flush().await?;
    Ok(())
}

async fn speak(client: Client, words: usize, pace: Duration) -> anyhow::Result<()> {
    const KIND: &str = "transcript.partial";
    let job = Uuid::now_v7();
    let recording = recording("bench-000.wav", &"0".repeat(64), 320_044);
    let mut text = String::new();
    for revision in 1..=words {
        if revision > 1 {
            tokio::time::sleep(pace).await;
            text.push(' ');
        }
        // The moment at which the emulator would send its word; from here on Hark's work would begin.
        text.push_str(&now_ns().to_string());
        let own = json!({"revision": revision, "channel": 0, "begin_ms": 0, "text": text});
        let headers = headers(KIND, job, &format!("p{revision}"));
        client.publish_with_headers(subject(KIND, job), headers, body(job, &recording, own).into()).await?;
    }
    Ok(())
}
