//! The least that a word can take: from a publisher's call through NATS to the subscriber. And calls that are over, for `harkd replay`.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::message::PublishMessage;
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

#[derive(Debug, clap::Args)]
pub(crate) struct Finals {
    #[arg(long)]
    finals: usize,
}

/// Publishes that wait for their acknowledgement at once.
const UNDER_WAY: usize = 1_000;

/// Stores a final and the end of its job, again and again; prints a line when all are stored. One call in a hundred has a word that the rule
/// of the bench's plugin names.
pub(crate) async fn finals(client: Client, options: Finals) -> anyhow::Result<()> {
    let jetstream = async_nats::jetstream::new(client);
    let subjects = ["job", "annotation", "alert", "plugin", "transcript"];
    let config = async_nats::jetstream::stream::Config {
        name: "HARK_EVENTS".into(),
        subjects: subjects.map(|family| format!("hark.event.{family}.>")).to_vec(),
        ..Default::default()
    };
    jetstream.create_stream(config).await?;
    let mut under_way = VecDeque::new();
    for number in 0..options.finals {
        let job = Uuid::now_v7();
        let recording = recording(&format!("bench-{number}.wav"), &"0".repeat(64), 320_044);
        let said = if number.is_multiple_of(100) { "I want to cancel" } else { "good morning to you" };
        let text = format!("{said}, and this is what the call {number} was about");
        let segment = json!({
            "channel": 0, "begin_ms": 0, "end_ms": 10_000, "timing": "chunk", "language": "en",
            "emotion": "neutral", "text": text,
        });
        let last = json!({
            "sequence": 3, "engine": "flash", "model": "qwen3-asr-flash", "text": text, "language": "en",
            "emotion": "neutral", "speech": true, "segments": [segment], "usage": {"seconds": 10},
            "quality": {"speech_ms": null, "repetition": 0, "failed_ms": 0},
        });
        let end = json!({
            "sequence": 4, "audio_seconds": 10.0, "billed_seconds": 10, "cost_usd": 0.0, "elapsed_ms": 0,
        });
        for (kind, sequence, own) in [("transcript.final", "3", last), ("job.completed", "4", end)] {
            let message = PublishMessage::build()
                .headers(headers(kind, job, sequence))
                .payload(body(job, &recording, own).into());
            under_way.push_back(jetstream.send_publish(subject(kind, job), message).await?);
        }
        while under_way.len() > UNDER_WAY {
            if let Some(acknowledgement) = under_way.pop_front() {
                acknowledgement.await?;
            }
        }
    }
    for acknowledgement in under_way {
        acknowledgement.await?;
    }
    println!("{}", json!({ "finals": options.finals }));
    // It is ended by what started it.
    std::future::pending().await
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
