//! Follows submitted recordings to the end of their jobs.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::follow::{Follower, ReceivedEvent};
use crate::cli::{Exit, print, say, write_json, write_line};

/// A running daemon accepts a recording within moments; after this long the command prints what it waits for.
const TIME_TO_ACCEPT: Duration = Duration::from_secs(5);

/// A message that the stream has stored.
#[derive(Debug)]
pub struct Receipt {
    pub name: String,
    pub id: String,
    pub stream: String,
    pub sequence: u64,
}

impl Receipt {
    /// Prints one line: where the message is stored.
    pub fn print(&self, out: &mut impl Write, as_json: bool) -> io::Result<()> {
        let Receipt { name, id, stream, sequence } = self;
        if as_json {
            let line = json!({ "name": name, "message_id": id, "stream": stream, "sequence": sequence });
            write_json(out, &line)
        } else {
            write_line(out, &format!("{name}: stored as {stream}/{sequence}, message id {id}"))
        }
    }

    fn is_of(&self, heard: &ReceivedEvent) -> bool {
        let recording = &heard.body["recording"];
        recording["message_id"] == self.id.as_str()
            || recording["uri"] == format!("nats:{}/{}", self.stream, self.sequence).as_str()
    }
}

/// Follows jobs to their ends.
pub struct Watch {
    follower: Follower,
    as_json: bool,
    /// The transcript of each job that has one, until it ends.
    transcripts: HashMap<String, Value>,
}

impl Watch {
    pub fn new(follower: Follower, as_json: bool) -> Watch {
        Watch { follower, as_json, transcripts: HashMap::new() }
    }

    /// Prints each recording's transcript when its job has ended, and a line for each failed try. Waits without a time limit.
    ///
    /// # Errors
    /// 1 when a job failed, after all have ended.
    pub async fn until_ended(&mut self, mut open: Vec<Receipt>) -> Result<(), Exit> {
        let mut failures = Vec::new();
        let mut is_accepted = false;
        while !open.is_empty() {
            let next = self.follower.next();
            let heard = if is_accepted {
                next.await?
            } else {
                match tokio::time::timeout(TIME_TO_ACCEPT, next).await {
                    Ok(heard) => heard?,
                    Err(_) => {
                        is_accepted = true;
                        say("stored; no daemon has accepted it yet; is harkd running?");
                        continue;
                    }
                }
            };
            let Some(position) = open.iter().position(|receipt| receipt.is_of(&heard)) else { continue };
            is_accepted = true;
            let job = heard.body["job"].as_str().unwrap_or_default().to_owned();
            match heard.kind.as_str() {
                "job.retrying" => {
                    let again = heard.body["retry_in_ms"].as_f64().unwrap_or_default() / 1000.0;
                    say(&format!(
                        "{}; again in {again:.1} s",
                        failure(&open[position], &heard.body["error"])
                    ));
                }
                "transcript.final" => {
                    self.transcripts.insert(job, heard.body);
                }
                "job.completed" | "job.failed" => {
                    let receipt = open.swap_remove(position);
                    let transcript = self.transcripts.remove(&job).unwrap_or_default();
                    if heard.kind == "job.failed" {
                        failures.push(failure(&receipt, &heard.body["error"]));
                    }
                    if !print(|out| self.print(out, &receipt, &heard, &transcript))? {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(Exit::Failed(failures.join("\n"))) }
    }

    fn print(
        &self,
        out: &mut impl Write,
        receipt: &Receipt,
        last: &ReceivedEvent,
        transcript: &Value,
    ) -> io::Result<()> {
        if self.as_json {
            let line = json!({
                "name": receipt.name, "message_id": receipt.id, "stream": receipt.stream, "sequence": receipt.sequence,
                "job": last.body["job"], "outcome": last.kind, "error": last.body["error"], "text": transcript["text"],
                "language": transcript["language"], "emotion": transcript["emotion"],
            });
            return write_json(out, &line);
        }
        match transcript["text"].as_str() {
            Some(text) => write_line(out, &format!("{}: {text}", receipt.name)),
            None => Ok(()),
        }
    }
}

fn failure(receipt: &Receipt, error: &Value) -> String {
    let word = |field: &str| error[field].as_str().unwrap_or("unknown").to_owned();
    format!("{}: {} ({}): {}", receipt.name, word("code"), word("blame"), word("message"))
}
