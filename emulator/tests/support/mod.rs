//! The emulator as a process on free ports, and recordings to send to it.
#![allow(dead_code, unreachable_pub, reason = "each test file is its own crate and uses only a part of this")]

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

/// A running emulator; it is killed on drop.
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
        let ready: Value = serde_json::from_str(&ready).expect("the emulator prints its addresses");
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

    /// Waits until the process ends by itself.
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

/// A WAV of 8 kHz and 16 bit; every sample byte is `seed`, so that each seed gives another hash.
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

impl Emulator {
    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.api)).bearer_auth(KEY).json(body)
    }

    /// A filetrans submit with the headers that it needs.
    pub fn submit(&self, body: &Value) -> reqwest::RequestBuilder {
        self.post("/services/audio/asr/transcription", body)
            .header("X-DashScope-Async", "enable")
            .header("X-DashScope-OssResourceResolve", "enable")
    }

    /// Submits a task and returns its id.
    pub async fn submitted(&self, file_url: &str, parameters: Value) -> String {
        let response = self.submit(&filetrans_body(file_url, parameters)).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["output"]["task_status"], "PENDING", "{answer}");
        answer["output"]["task_id"].as_str().unwrap().to_owned()
    }

    pub async fn query(&self, task: &str) -> Value {
        let request = self.http.get(format!("{}/tasks/{task}", self.api)).bearer_auth(KEY);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Queries until the task is neither PENDING nor RUNNING.
    pub async fn ended(&self, task: &str) -> Value {
        let mut last = Value::Null;
        eventually("the task ends", async || {
            last = self.query(task).await;
            !["PENDING", "RUNNING"].contains(&last["output"]["task_status"].as_str().unwrap())
        })
        .await;
        last
    }

    /// Submits a recording, waits for the task, and returns the result file.
    pub async fn result_of(&self, file_url: &str, parameters: Value) -> Value {
        let task = self.submitted(file_url, parameters).await;
        let done = self.ended(&task).await;
        let url = done["output"]["result"]["transcription_url"].as_str().unwrap_or_else(|| panic!("{done}"));
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Submits a task that must fail and returns the code.
    pub async fn failure_of(&self, file_url: &str, parameters: Value) -> String {
        let task = self.submitted(file_url, parameters).await;
        let ended = self.ended(&task).await;
        assert_eq!(ended["output"]["task_status"], "FAILED", "{ended}");
        ended["output"]["code"].as_str().unwrap().to_owned()
    }

    pub async fn policy(&self, model: &str) -> Value {
        let request =
            self.http.get(format!("{}/uploads?action=getPolicy&model={model}", self.api)).bearer_auth(KEY);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["data"].clone()
    }

    /// Uploads as the SDKs do; returns the `oss://` URL.
    pub async fn upload(&self, model: &str, name: &str, audio: &[u8]) -> String {
        let policy = self.policy(model).await;
        let fields = upload_fields(&policy, name);
        let host = policy["upload_host"].as_str().unwrap();
        let response = self.http.post(host).multipart(form(&fields, name, audio)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        format!("oss://{}/{name}", policy["upload_dir"].as_str().unwrap())
    }

    pub async fn set_faults(&self, faults: Value) {
        let url = self.api.replace("/api/v1", "/emulator/faults");
        let response = self.http.put(url).json(&faults).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    }
}

pub fn filetrans_body(file_url: &str, parameters: Value) -> Value {
    json!({"model": FILETRANS, "input": {"file_url": file_url}, "parameters": parameters})
}

pub fn upload_fields(policy: &Value, name: &str) -> Vec<(String, String)> {
    let of_policy = |field: &str| policy[field].as_str().unwrap().to_owned();
    vec![
        ("OSSAccessKeyId".to_owned(), of_policy("oss_access_key_id")),
        ("Signature".to_owned(), of_policy("signature")),
        ("policy".to_owned(), of_policy("policy")),
        ("key".to_owned(), format!("{}/{name}", of_policy("upload_dir"))),
        ("x-oss-object-acl".to_owned(), of_policy("x_oss_object_acl")),
        ("x-oss-forbid-overwrite".to_owned(), of_policy("x_oss_forbid_overwrite")),
        ("success_action_status".to_owned(), "200".to_owned()),
    ]
}

pub fn form(fields: &[(String, String)], name: &str, audio: &[u8]) -> reqwest::multipart::Form {
    let file = reqwest::multipart::Part::bytes(audio.to_vec()).file_name(name.to_owned());
    fields
        .iter()
        .fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name.clone(), value.clone()))
        .part("file", file)
}

/// Waits for a condition, ten seconds at most.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < Duration::from_secs(10), "not seen in ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A file server outside the service: `/ok.wav`, `/text`, and a path for every status.
pub struct FileServer {
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl FileServer {
    pub async fn start(audio: Vec<u8>) -> FileServer {
        use axum::http::StatusCode;
        use axum::routing::get;
        let chunks = futures::stream::iter([Ok::<_, std::io::Error>(audio.clone())]);
        let unsized_body = std::sync::Mutex::new(Some(axum::body::Body::from_stream(chunks)));
        let unsized_body = std::sync::Arc::new(unsized_body);
        let routes = axum::Router::new()
            .route("/ok.wav", get(async move || audio.clone()))
            .route("/chunked.wav", get(async move || unsized_body.lock().unwrap().take().unwrap_or_default()))
            .route("/text", get(async || "<html>no audio</html>"))
            .route("/403", get(async || StatusCode::FORBIDDEN))
            .route("/404", get(async || StatusCode::NOT_FOUND))
            .route("/500", get(async || StatusCode::INTERNAL_SERVER_ERROR));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        FileServer { address, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
