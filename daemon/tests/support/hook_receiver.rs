//! A receiver of webhooks that answers as its script says, and keeps what it was sent.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::task::JoinHandle;

/// The secret that [`super::Setup::webhook`] signs with.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Listens on loopback until it is dropped.
#[derive(Debug)]
pub struct HookReceiver {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub bytes: Bytes,
    pub body: Value,
    /// The status that it was answered with.
    pub status: u16,
}

type Rule = dyn Fn(&Delivered) -> Option<HookReply> + Send;

#[derive(Default)]
struct Script {
    /// The answers to the next requests.
    next: VecDeque<HookReply>,
    /// What is answered to some requests, else 204.
    rule: Option<Box<Rule>>,
    asked: Vec<Delivered>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("asked", &self.asked.len()).finish_non_exhaustive()
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub struct HookReply {
    status: u16,
    location: Option<String>,
    wait: Duration,
}

impl HookReply {
    pub fn status(status: u16) -> HookReply {
        HookReply { status, location: None, wait: Duration::ZERO }
    }

    pub fn redirect(to: &str) -> HookReply {
        HookReply { location: Some(to.to_owned()), ..HookReply::status(307) }
    }

    pub fn after(self, wait: Duration) -> HookReply {
        HookReply { wait, ..self }
    }
}

impl Delivered {
    /// `ce-type` without `hark.`.
    pub fn kind(&self) -> &str {
        self.header("ce-type").trim_start_matches("hark.")
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl HookReceiver {
    /// Starts a receiver that takes everything.
    pub async fn start() -> HookReceiver {
        HookReceiver::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// The same at an address that is known before.
    pub async fn start_at(address: SocketAddr) -> HookReceiver {
        let script: Arc<Mutex<Script>> = Arc::default();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        HookReceiver { address, script, task }
    }

    /// The value for `url`.
    pub fn url(&self) -> String {
        format!("http://{}/hook?token=of-the-url", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The answers to the next requests.
    pub fn next(&self, replies: impl IntoIterator<Item = HookReply>) {
        self.script.lock().unwrap().next.extend(replies);
    }

    /// What is answered to the requests that this returns an answer for, from now on; 204 to the others.
    pub fn rule(&self, rule: impl Fn(&Delivered) -> Option<HookReply> + Send + 'static) {
        self.script.lock().unwrap().rule = Some(Box::new(rule));
    }

    /// Everything is taken from now on.
    pub fn take_all(&self) {
        let mut script = self.script.lock().unwrap();
        script.rule = None;
        script.next.clear();
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Delivered> {
        self.script.lock().unwrap().asked.clone()
    }

    /// The ids of what was taken, in the order in which it was taken.
    pub fn taken(&self) -> Vec<String> {
        let script = self.script.lock().unwrap();
        script.asked.iter().filter(|asked| asked.is_taken()).map(|asked| asked.id().to_owned()).collect()
    }
}

impl Drop for HookReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut delivered = Delivered {
        path: uri.to_string(),
        headers: headers.collect(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        bytes,
        status: 204,
    };
    let reply = {
        let mut script = script.lock().unwrap();
        let next = script.next.pop_front();
        next.or_else(|| script.rule.as_ref().and_then(|rule| rule(&delivered)))
    };
    let reply = reply.unwrap_or(HookReply::status(204));
    delivered.status = reply.status;
    // Before the wait: a caller that does not wait for the answer has been heard all the same.
    script.lock().unwrap().asked.push(delivered);
    tokio::time::sleep(reply.wait).await;
    let status = StatusCode::from_u16(reply.status).unwrap();
    match reply.location {
        Some(location) => (status, [("location", location)]).into_response(),
        None => status.into_response(),
    }
}
