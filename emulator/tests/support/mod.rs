//! The emulator as a process on free ports, and recordings to send to it.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses its own part")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use dashscope_emulator::journal::{Entry, Kind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub const KEY: &str = "sk-0123456789abcdef";
pub const FLASH: &str = "qwen3-asr-flash";
pub const FILETRANS: &str = "qwen3-asr-flash-filetrans";

/// One emulator of its own; killed when dropped.
pub struct Emulator {
    pub api: String,
    pub storage: String,
    pub directory: TempDir,
    pub http: reqwest::Client,
    child: Child,
}

impl Emulator {
    pub fn start() -> Emulator {
        Emulator::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Emulator {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dashscope-emulator"))
            .args(["--listen", "127.0.0.1:0", "--storage-listen", "127.0.0.1:0", "--token-delay", "1ms"])
            .arg("--journal")
            .arg(directory.path().join("journal.jsonl"))
            .arg("--data")
            .arg(directory.path().join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let ready: Value = serde_json::from_str(&ready).expect("the emulator says where it listens");
        let _ = rustls::crypto::ring::default_provider().install_default();
        Emulator {
            api: ready["api"].as_str().unwrap().to_owned(),
            storage: ready["storage"].as_str().unwrap().to_owned(),
            directory,
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap(),
            child,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A flash request with this body, as a client would send it.
    pub fn flash(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/services/aigc/multimodal-generation/generation", self.api))
            .bearer_auth(KEY)
            .json(body)
    }

    pub fn streamed(&self, body: &Value) -> reqwest::RequestBuilder {
        self.flash(body).header("X-DashScope-SSE", "enable")
    }

    pub fn journal(&self) -> Vec<Entry> {
        let text = std::fs::read_to_string(self.directory.path().join("journal.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn journal_of(&self, kind: Kind) -> Vec<Entry> {
        self.journal().into_iter().filter(|entry| entry.kind == kind).collect()
    }

    /// Waits for the process to end by itself.
    pub fn wait_for_end(&mut self) -> std::process::ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "the emulator does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request body for flash with this source of audio.
pub fn flash_body(audio: &str) -> Value {
    json!({
        "model": FLASH,
        "input": {"messages": [{"role": "user", "content": [{"audio": audio}]}]},
        "parameters": {"asr_options": {"enable_itn": false}},
    })
}

pub fn data_url(audio: &[u8]) -> String {
    format!("data:audio/wav;base64,{}", base64::engine::general_purpose::STANDARD.encode(audio))
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A WAV of 8 kHz and 16 bit; `seed` makes its bytes, and so its hash, its own.
pub fn wav(milliseconds: u32, channels: u16, seed: u8) -> Vec<u8> {
    let data_bytes = milliseconds * 8 * 2 * u32::from(channels);
    let mut wav = Vec::with_capacity(44 + data_bytes as usize);
    wav.extend(b"RIFF");
    wav.extend((36 + data_bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    wav.extend(channels.to_le_bytes());
    wav.extend(8_000_u32.to_le_bytes());
    wav.extend((16_000 * u32::from(channels)).to_le_bytes());
    wav.extend((2 * channels).to_le_bytes());
    wav.extend(b"\x10\0data");
    wav.extend(data_bytes.to_le_bytes());
    wav.resize(44 + data_bytes as usize, seed);
    wav
}

/// The fields `code` and `message` of a refusal, with its status.
pub async fn refusal(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("a refusal is JSON");
    assert!(body["request_id"].is_string(), "{body}");
    (status, body["code"].as_str().unwrap().to_owned(), body["message"].as_str().unwrap().to_owned())
}

/// The events of a stream: (id, event, status in the comment, data).
pub fn events(body: &str) -> Vec<(u32, String, u16, Value)> {
    let frames: Vec<&str> = body.split("\n\n").collect();
    assert_eq!(frames.last(), Some(&""), "a stream ends with an empty line");
    frames[..frames.len() - 1]
        .iter()
        .map(|frame| {
            let lines: Vec<&str> = frame.lines().collect();
            let [id, event, status, data] = lines[..] else { panic!("four lines: {frame}") };
            (
                id.strip_prefix("id:").unwrap().parse().unwrap(),
                event.strip_prefix("event:").unwrap().to_owned(),
                status.strip_prefix(":HTTP_STATUS/").unwrap().parse().unwrap(),
                serde_json::from_str(data.strip_prefix("data:").unwrap()).unwrap(),
            )
        })
        .collect()
}
