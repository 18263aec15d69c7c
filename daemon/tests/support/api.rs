//! The daemon's HTTP API, as a program downstream uses it.

use std::net::SocketAddr;

use reqwest::{Client, Method, RequestBuilder, Response, redirect};
use serde_json::Value;

use super::wait::CEILING;

/// Asks one daemon, with a token.
#[derive(Debug, Clone)]
pub struct Api {
    pub base: String,
    pub token: String,
    client: Client,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text))
    }

    /// A header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Api {
    pub fn new(address: SocketAddr, token: &str) -> Api {
        // Plain http: no TLS provider is needed, but the client wants one installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        Api { base: format!("http://{address}"), token: token.to_owned(), client }
    }

    /// A request with the token, to be changed and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.token)
    }

    /// A request without a token.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn send(request: RequestBuilder) -> Answer {
        let response = request.timeout(CEILING).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// A GET with the token.
    pub async fn get(&self, path: &str) -> Answer {
        Api::send(self.request(Method::GET, path)).await
    }

    /// The JSON of a GET that must be answered with 200.
    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// A POST of JSON with the token.
    pub async fn post(&self, path: &str) -> Answer {
        Api::send(self.request(Method::POST, path).header("content-type", "application/json").body("{}"))
            .await
    }

    /// Follows the server-sent events of a path.
    pub async fn follow(&self, path: &str) -> Lines {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        Lines { response, rest: String::new() }
    }
}

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Lines {
    response: Response,
    rest: String,
}

impl Lines {
    /// The next event: its kind, its id, its body.
    pub async fn next(&mut self) -> (String, Option<u64>, Value) {
        loop {
            while let Some((block, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| {
                    let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    value.map(|value| value.trim_start().to_owned())
                };
                let event = field("data").map(|data| {
                    let id = field("id").map(|id| id.parse().unwrap());
                    (field("event").unwrap_or_default(), id, serde_json::from_str(&data).unwrap())
                });
                self.rest = rest.to_owned();
                if let Some(event) = event {
                    return event;
                }
            }
            let chunk = tokio::time::timeout(CEILING, self.response.chunk()).await;
            let chunk = chunk.expect("the next event in time").unwrap().expect("the stream goes on");
            self.rest.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}
