//! A speech server that speaks both doors of OpenAI's HTTP, answers as its script says, and keeps what it was asked.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Serves on loopback until it is dropped.
#[derive(Debug)]
pub struct SpeechServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Script {
    /// The answers to the next requests.
    next: VecDeque<Reply>,
    /// The answer to every other request.
    always: Reply,
    /// The answer to audio of more than so many bytes.
    long: Option<(usize, Reply)>,
    asked: Vec<Asked>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `/v1/audio/transcriptions`, …
    pub path: String,
    pub authorization: Option<String>,
    /// The fields of the form, without the file, the values of a repeated one with commas; empty for a chat.
    pub fields: HashMap<String, String>,
    /// The JSON of a chat, without its audio.
    pub chat: Value,
    /// What is to be recognized.
    pub audio: Vec<u8>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    parts: Vec<String>,
    wait: Duration,
    pause: Duration,
    breaks: bool,
}

impl SpeechServer {
    /// Starts a server that gives every request this answer.
    pub async fn start(always: Reply) -> SpeechServer {
        SpeechServer::start_at("127.0.0.1:0".parse().unwrap(), always).await
    }

    /// The same at an address that is known before.
    pub async fn start_at(address: SocketAddr, always: Reply) -> SpeechServer {
        let script =
            Arc::new(Mutex::new(Script { next: VecDeque::new(), always, long: None, asked: Vec::new() }));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        SpeechServer { address, script, task }
    }

    /// The value for `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The answers to the next requests, before the one that is always given.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().next.extend(replies);
    }

    /// The answer to every request from now on.
    pub fn always(&self, reply: Reply) {
        self.script.lock().unwrap().always = reply;
    }

    /// The answer to every request with more than so many bytes of audio from now on.
    pub fn always_if_longer(&self, bytes: usize, reply: Reply) {
        self.script.lock().unwrap().long = Some((bytes, reply));
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }
}

impl Drop for SpeechServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Reply {
        Reply {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            parts: vec![body.to_string()],
            wait: Duration::ZERO,
            pause: Duration::ZERO,
            breaks: false,
        }
    }

    /// `verbose_json` as speaches and its kin write it.
    pub fn verbose(language: &str, text: &str, times: &[(f64, f64, &str)]) -> Reply {
        let segment = |(start, end, text): &(f64, f64, &str)| json!({"id": 0, "start": start, "end": end, "text": text});
        let segments: Vec<Value> = times.iter().map(segment).collect();
        Reply::json(
            200,
            &json!({"task": "transcribe", "language": language, "duration": 2.0, "text": text, "segments": segments}),
        )
    }

    /// A stream of these events, and `[DONE]`.
    pub fn events(events: &[Value]) -> Reply {
        let mut parts: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        parts.push("data: [DONE]\n\n".to_owned());
        let headers = vec![("content-type", "text/event-stream; charset=utf-8".to_owned())];
        Reply { headers, parts, ..Reply::json(200, &Value::Null) }
    }

    /// The stream of a chat, or with `transcription.chunk` of vLLM's transcriptions.
    pub fn chunks(object: &str, texts: &[&str], reason: &str) -> Reply {
        let chunk = |text: &str, reason: Option<&str>| {
            json!({"id": "1", "object": object, "created": 1, "model": "m",
                   "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]})
        };
        let mut events: Vec<Value> = texts.iter().map(|text| chunk(text, None)).collect();
        events.push(chunk("", Some(reason)));
        Reply::events(&events)
    }

    /// The same, begun after this time.
    pub fn after(self, wait: Duration) -> Reply {
        Reply { wait, ..self }
    }

    /// The same, with a pause behind each part.
    pub fn slowly(self, pause: Duration) -> Reply {
        Reply { pause, ..self }
    }

    /// The same, broken off before its last part.
    pub fn broken(mut self) -> Reply {
        self.parts.pop();
        Reply { breaks: true, ..self }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.push((name, value.to_owned()));
        self
    }
}

async fn serve(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let reply = {
        let mut script = script.lock().unwrap();
        let asked = Asked::read(&uri, &headers, &body);
        let long = script.long.clone().filter(|(bytes, _)| asked.audio.len() > *bytes);
        script.asked.push(asked);
        let next = script.next.pop_front().or(long.map(|(_, reply)| reply));
        next.unwrap_or_else(|| script.always.clone())
    };
    tokio::time::sleep(reply.wait).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let pause = reply.pause;
    let parts = reply.parts.into_iter().map(|part| Ok(Bytes::from(part)));
    let parts = parts.chain(reply.breaks.then(|| Err(std::io::Error::other("broken off as scripted"))));
    let parts = stream::iter(parts).then(move |part| async move {
        tokio::time::sleep(pause).await;
        part
    });
    response.body(Body::from_stream(parts)).unwrap()
}

impl Asked {
    fn read(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Asked {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let mut asked = Asked {
            path: uri.path().to_owned(),
            authorization: header("authorization"),
            fields: HashMap::new(),
            chat: Value::Null,
            audio: Vec::new(),
        };
        let content_type = header("content-type").unwrap_or_default();
        match content_type.split_once("boundary=") {
            Some((_, boundary)) => asked.read_form(boundary.trim_matches('"'), body),
            None => asked.read_chat(body),
        }
        asked
    }

    fn read_form(&mut self, boundary: &str, body: &[u8]) {
        let boundary = format!("--{boundary}");
        let mut rest = body;
        while let Some(begin) = find(rest, boundary.as_bytes()) {
            rest = &rest[begin + boundary.len()..];
            let Some(end) = find(rest, boundary.as_bytes()) else { break };
            let part = &rest[2..end - 2];
            let split = find(part, b"\r\n\r\n").unwrap();
            let (head, content) = (String::from_utf8_lossy(&part[..split]), &part[split + 4..]);
            let name = head.split("name=\"").nth(1).unwrap().split('"').next().unwrap();
            if name == "file" {
                self.audio = content.to_vec();
            } else {
                let value = String::from_utf8(content.to_vec()).unwrap();
                let field = self.fields.entry(name.to_owned());
                field.and_modify(|values| *values += &format!(",{value}")).or_insert(value);
            }
        }
    }

    fn read_chat(&mut self, body: &[u8]) {
        self.chat = serde_json::from_slice(body).unwrap_or_default();
        let audio = ["/audio_url/url", "/input_audio/data"];
        let messages = self.chat["messages"].as_array_mut().into_iter().flatten();
        for part in messages.filter_map(|message| message["content"].get_mut(0)) {
            for place in audio {
                let Some(found) = part.pointer_mut(place) else { continue };
                let text = found.take().as_str().unwrap().to_owned();
                self.audio = STANDARD.decode(text.rsplit(',').next().unwrap()).unwrap();
            }
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
