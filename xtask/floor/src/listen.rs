//! The subscriber: measures how old words are when they arrive, and when jobs began and ended.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use async_nats::{Client, Message};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;

use crate::event::now_ns;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Streams that speak at the same time
    #[arg(long)]
    streams: usize,
    /// Words of each; the last one ends its stream
    #[arg(long)]
    words: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Count {
    #[arg(long)]
    jobs: usize,
}

/// One partial as it was received.
struct Received {
    at_ns: u64,
    age_ns: u64,
}

#[derive(Deserialize)]
struct Partial<'a> {
    #[serde(borrow)]
    text: &'a str,
}

/// Listens until every stream has sent its last word; prints what arrived while all streams were sending.
pub(crate) async fn partials(client: Client, options: Options) -> anyhow::Result<()> {
    let mut messages = client.subscribe("hark.event.transcript.partial.>").await?;
    client.flush().await?;
    println!("ready");
    let mut streams: HashMap<String, Vec<Received>> = HashMap::new();
    let (mut ended, mut bytes, mut count) = (0, 0, 0);
    while ended < options.streams {
        let message = messages.next().await.context("the connection to NATS is gone")?;
        let at_ns = now_ns();
        let text = serde_json::from_slice::<Partial>(&message.payload).context("reading a partial")?.text;
        let word = text.rsplit(' ').next().unwrap_or(text);
        let told_ns: u64 = word.parse().context("a word is no time")?;
        let heard = Received { at_ns, age_ns: at_ns.saturating_sub(told_ns) };
        streams.entry(job(&message)).or_default().push(heard);
        ended += usize::from(text.split(' ').count() == options.words);
        bytes += message.payload.len();
        count += 1;
    }
    // Outside this window fewer streams than requested are sending.
    let begin = streams.values().filter_map(|all| all.first()).map(|heard| heard.at_ns).max().unwrap_or(0);
    let end = streams.values().filter_map(|all| all.last()).map(|heard| heard.at_ns).min().unwrap_or(0);
    ensure!(begin < end, "the streams never spoke at the same time; they need more words");
    let together = streams.values().flatten().filter(|heard| (begin..=end).contains(&heard.at_ns));
    let mut ages: Vec<u64> = together.map(|heard| heard.age_ns).collect();
    ages.sort_unstable();
    let at = |share: f64| ages[((ages.len() - 1) as f64 * share) as usize];
    let merged = options.streams * options.words - count;
    println!(
        "{}",
        json!({
            "p50_ns": at(0.5), "p99_ns": at(0.99), "most_ns": at(1.0), "heard": ages.len(),
            "a_second": ages.len() as f64 / ((end - begin) as f64 / 1e9), "merged": merged,
            "bytes": bytes / count.max(1),
        })
    );
    Ok(())
}

/// Prints when the last of so many jobs ended, in nanoseconds since the epoch, and how many failed.
pub(crate) async fn count(client: Client, options: Count) -> anyhow::Result<()> {
    let mut completed = client.subscribe("hark.event.job.completed.>").await?;
    let mut failed = client.subscribe("hark.event.job.failed.>").await?;
    client.flush().await?;
    println!("ready");
    let (mut ended, mut failures) = (0, 0);
    while ended < options.jobs {
        tokio::select! {
            message = completed.next() => drop(message.context("the connection to NATS is gone")?),
            message = failed.next() => {
                drop(message.context("the connection to NATS is gone")?);
                failures += 1;
            }
        }
        ended += 1;
    }
    println!("{}", json!({"last_ns": now_ns(), "failed": failures}));
    Ok(())
}

/// Prints when the first job was accepted and when its first piece was submitted, in nanoseconds since the epoch.
pub(crate) async fn begin(client: Client) -> anyhow::Result<()> {
    let mut accepted = client.subscribe("hark.event.job.accepted.>").await?;
    let mut submitted = client.subscribe("hark.event.job.submitted.>").await?;
    client.flush().await?;
    println!("ready");
    accepted.next().await.context("the connection to NATS is gone")?;
    let accepted_ns = now_ns();
    submitted.next().await.context("the connection to NATS is gone")?;
    println!("{}", json!({"accepted_ns": accepted_ns, "submitted_ns": now_ns()}));
    Ok(())
}

fn job(message: &Message) -> String {
    message.subject.rsplit('.').next().unwrap_or_default().to_owned()
}
