//! Publishes messages evenly over the run to two subjects: audio for both engines, references by URL, garbage.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream;
use futures::StreamExt;
use serde_json::json;
use tokio::task::JoinHandle;

use super::plan::{Plan, long};
use crate::support::{FileServer, Input, NatsServer, wav};

const UPLOADS: &str = "HARK_UPLOADS";

/// The sender; it retries through every fault until each message is stored.
pub struct Messages {
    sender: JoinHandle<Vec<Input>>,
    files: FileServer,
}

impl Messages {
    pub async fn start(plan: &Plan, nats: &NatsServer) -> Messages {
        let paths: Vec<(String, Vec<u8>)> = (1..=plan.inputs)
            .filter(|number| is_reference(*number))
            .map(|number| (path(number), audio(number)))
            .collect();
        let files =
            FileServer::start(paths.iter().map(|(path, audio)| (path.as_str(), audio.clone())).collect())
                .await;
        let sender = tokio::spawn(send(*plan, nats.url(), files.url("")));
        Messages { sender, files }
    }

    /// Waits until everything is sent. The returned file server must live for as long as the service may fetch from it.
    pub async fn ended(self) -> (Vec<Input>, FileServer) {
        (self.sender.await.unwrap(), self.files)
    }
}

/// Publishes one more message, when all faults are over.
pub async fn fresh(nats: &NatsServer) -> Input {
    let audio = wav(1.0, u64::MAX / 4);
    publish(
        &jetstream::new(nats.client().await),
        "hark.audio.inbox",
        "fresh.wav",
        "audio/wav",
        audio.clone(),
    )
    .await;
    Input::recognized("inbox", "fresh.wav", &audio)
}

async fn send(plan: Plan, nats: String, files: String) -> Vec<Input> {
    let context = jetstream::new(async_nats::connect(nats).await.unwrap());
    let begin = Instant::now();
    let mut inputs = Vec::new();
    for number in 1..=plan.inputs {
        let at = plan.length.mul_f64(number as f64 / plan.inputs as f64);
        tokio::time::sleep(at.saturating_sub(begin.elapsed())).await;
        let (name, audio) = (format!("{number}.wav"), audio(number));
        // Of twenty: one garbage, two references and two recordings for filetrans, fifteen recordings for flash.
        inputs.push(match number % 20 {
            0 => {
                let garbage = format!("no audio at all, number {number}").into_bytes();
                publish(&context, "hark.audio.inbox", &name, "audio/wav", garbage.clone()).await;
                Input::refused("inbox", &name, &garbage)
            }
            _ if is_reference(number) => {
                let reference = json!({"url": format!("{files}{}", path(number)), "name": name});
                publish(&context, "hark.audio.long", &name, "application/json", reference.to_string().into())
                    .await;
                Input::recognized("long", &name, &audio)
            }
            3 | 4 => {
                publish(&context, "hark.audio.long", &name, "audio/wav", audio.clone()).await;
                Input::recognized("long", &name, &audio)
            }
            _ if plan.is_long(number) => {
                let (name, audio) = (format!("{number}.caf"), long(number));
                publish(&context, "hark.audio.inbox", &name, "audio/x-caf", audio.clone()).await;
                Input::recognized("inbox", &name, &audio).in_pieces()
            }
            _ => {
                publish(&context, "hark.audio.inbox", &name, "audio/wav", audio.clone()).await;
                Input::recognized("inbox", &name, &audio)
            }
        });
    }
    inputs
}

fn is_reference(number: usize) -> bool {
    matches!(number % 20, 1 | 2)
}

fn path(number: usize) -> String {
    format!("/{number}.wav")
}

fn audio(number: usize) -> Vec<u8> {
    wav(1.0 + (number % 3) as f64 / 4.0, number as u64)
}

/// Publishes until the stream acknowledges. A message whose acknowledgement was lost is sent twice; its id makes it one recording.
pub async fn publish(
    context: &jetstream::Context,
    subject: &'static str,
    name: &str,
    content_type: &str,
    payload: Vec<u8>,
) {
    loop {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", content_type);
        headers.insert("Hark-Name", name);
        headers.insert("Nats-Msg-Id", name);
        let sent = context.publish_with_headers(subject, headers, payload.clone().into()).await;
        if let Ok(acknowledgement) = sent
            && acknowledgement.await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Puts a recording into the bucket of uploads, and publishes a message that refers to it.
pub async fn refer(context: &jetstream::Context, subject: &'static str, name: &str, audio: &[u8]) {
    loop {
        let put =
            async { context.get_object_store(UPLOADS).await.ok()?.put(name, &mut &audio[..]).await.ok() };
        if put.await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reference = json!({"object": {"bucket": UPLOADS, "name": name}}).to_string();
    publish(context, subject, name, "application/json", reference.into_bytes()).await;
}

/// The names of the objects that are left in the bucket of uploads.
pub async fn left(context: &jetstream::Context) -> Vec<String> {
    let mut objects = context.get_object_store(UPLOADS).await.unwrap().list().await.unwrap();
    let mut names = Vec::new();
    while let Some(object) = objects.next().await {
        names.push(object.unwrap().name);
    }
    names
}
