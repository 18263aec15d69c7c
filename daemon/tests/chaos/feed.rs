//! Delivers recordings evenly over the run: into two folders and to one subject, as audio and as objects.

use std::path::{Path, PathBuf};
use std::time::Instant;

use async_nats::jetstream;
use tokio::task::JoinHandle;

use super::SOURCES;
use super::messages::{publish, refer};
use super::plan::{Plan, long};
use crate::support::{Hark, Input, NatsServer, wav};

/// The sender; it retries through every fault until each recording is delivered.
pub struct Feed(JoinHandle<Vec<Input>>);

impl Feed {
    pub fn start(plan: &Plan, hark: &Hark, nats: &NatsServer) -> Feed {
        let folders = SOURCES.map(|source| hark.path(source));
        Feed(tokio::spawn(send(*plan, folders, nats.url())))
    }

    /// Waits until everything is sent.
    pub async fn ended(self) -> Vec<Input> {
        self.0.await.unwrap()
    }
}

async fn send(plan: Plan, folders: [PathBuf; 2], url: String) -> Vec<Input> {
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    let begin = Instant::now();
    let mut inputs = Vec::new();
    for number in 1..=plan.inputs {
        let at = plan.length.mul_f64(number as f64 / plan.inputs as f64);
        tokio::time::sleep(at.saturating_sub(begin.elapsed())).await;
        let audio = wav(1.0 + (number % 3) as f64 / 4.0, number as u64);
        let name = format!("{number}.wav");
        // Of twenty: eleven into a folder for flash, one into a folder for filetrans, seven messages, one of them with an object, one garbage.
        let input = match number % 20 {
            0 => {
                drop_file(&folders[1], &name, &audio);
                Input::recognized(SOURCES[1], &name, &audio)
            }
            1 => {
                let garbage = format!("no audio at all, number {number}").into_bytes();
                publish(&context, "hark.audio.inbox", &name, "audio/wav", garbage.clone()).await;
                Input::refused("inbox", &name, &garbage)
            }
            2 => {
                refer(&context, "hark.audio.inbox", &name, &audio).await;
                Input::recognized("inbox", &name, &audio)
            }
            3..=8 if plan.is_long(number) => {
                let (name, audio) = (format!("{number}.caf"), long(number));
                publish(&context, "hark.audio.inbox", &name, "audio/x-caf", audio.clone()).await;
                Input::recognized("inbox", &name, &audio).in_pieces()
            }
            3..=8 => {
                publish(&context, "hark.audio.inbox", &name, "audio/wav", audio.clone()).await;
                Input::recognized("inbox", &name, &audio)
            }
            _ if plan.in_pieces => {
                let (name, audio) = (format!("{number}.caf"), long(number));
                drop_file(&folders[0], &name, &audio);
                Input::recognized(SOURCES[0], &name, &audio).in_pieces()
            }
            _ => {
                drop_file(&folders[0], &name, &audio);
                Input::recognized(SOURCES[0], &name, &audio)
            }
        };
        inputs.push(input);
    }
    inputs
}

fn drop_file(folder: &Path, name: &str, bytes: &[u8]) {
    let part = folder.join(format!(".{name}.part"));
    std::fs::write(&part, bytes).unwrap();
    std::fs::rename(&part, folder.join(name)).unwrap();
}
