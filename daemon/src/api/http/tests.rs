use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing;
use futures::stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use tokio_util::sync::CancellationToken;

use super::{Api, CONNECTIONS, FINISHING, REQUEST_LIMIT, bind, serve, serve_pages};
use crate::api::health::{Health, Part};
use crate::config::{Config, Http};
use crate::telemetry::metrics::Metrics;

struct Server {
    url: String,
    health: Health,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn server() -> Server {
    let bound = bind(&listening("127.0.0.1:0")).await.unwrap();
    let url = format!("http://{}", bound.address.listen);
    let health = Health::default();
    let api = Api::new(bound.address.clone(), health.clone(), Metrics::new(), CancellationToken::new());
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(serve(bound, api, stopped));
    Server { url, health, stop, task }
}

fn listening(address: &str) -> Http {
    Http { listen: address.to_owned(), ..Config::default().http }
}

async fn get(url: &str) -> (u16, String, String) {
    // Plain http: no TLS provider is needed, but the client wants one installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().unwrap();
    let response = client.get(url).send().await.unwrap();
    let content_type = response.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
    (response.status().as_u16(), content_type, response.text().await.unwrap())
}

/// A client that begins a request and never finishes it.
async fn idler(address: &str) -> TcpStream {
    let mut idler = TcpStream::connect(address).await.unwrap();
    idler.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
    idler
}

#[tokio::test]
async fn a_client_that_keeps_it_waiting_takes_no_place_for_ever_and_delays_no_end() {
    let server = server().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut first = idler(address).await;
    let mut others = Vec::new();
    for _ in 1..2 * CONNECTIONS {
        others.push(idler(address).await);
    }
    let closed = tokio::time::timeout(Duration::from_secs(10), first.read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    assert_eq!(get(&format!("{}/healthz", server.url)).await.2, "ok");

    server.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused_and_its_place_is_free() {
    let server = server().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\ntok";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = client.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the place is kept").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_delays_no_end() {
    // More than the kernel keeps for a client.
    let endless =
        || async { Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(vec![0_u8; 1 << 16]))) };
    let pages = Router::new().route("/endless", routing::get(endless));
    let bound = bind(&listening("127.0.0.1:0")).await.unwrap();
    let mut client = TcpStream::connect(bound.address.listen).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve_pages(bound.listener, None, pages, async {
        let _ = stopped.await;
    }));
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: hark\r\n\r\n").await.unwrap();
    assert!(receives(&mut client, "HTTP/1.1 200").await);
    stop.send(()).unwrap();
    tokio::time::timeout(2 * FINISHING, serving).await.unwrap().unwrap();
}

/// A response that lasts until its client leaves: a line for each tick.
async fn streaming(State(tick): State<watch::Receiver<u32>>) -> Body {
    Body::from_stream(stream::unfold(tick, async |mut tick| {
        tick.changed().await.ok()?;
        let line = format!("{}\n", *tick.borrow_and_update());
        Some((Ok::<_, Infallible>(line), tick))
    }))
}

/// Reads until the text arrives.
async fn receives(client: &mut TcpStream, text: &str) -> bool {
    let mut heard = String::new();
    let reading = async {
        let mut buffer = [0; 1024];
        while !heard.contains(text) {
            match client.read(&mut buffer).await {
                Ok(read @ 1..) => heard.push_str(&String::from_utf8_lossy(&buffer[..read])),
                _ => return false,
            }
        }
        true
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap_or(false)
}

#[tokio::test]
async fn a_stream_lasts_longer_than_a_request_may_take() {
    let (ticks, tick) = watch::channel(0);
    let pages = Router::new().route("/stream", routing::get(streaming).with_state(tick));
    let bound = bind(&listening("127.0.0.1:0")).await.unwrap();
    let address = bound.address.listen.to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve_pages(bound.listener, None, pages, async {
        let _ = stopped.await;
    }));
    let mut client = TcpStream::connect(&address).await.unwrap();
    client.write_all(b"GET /stream HTTP/1.1\r\nHost: hark\r\n\r\n").await.unwrap();
    assert!(receives(&mut client, "HTTP/1.1 200").await);
    tokio::time::sleep(REQUEST_LIMIT + Duration::from_secs(1)).await;
    ticks.send(4711).unwrap();
    assert!(receives(&mut client, "4711").await, "the stream was closed");
    drop(ticks);
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn many_clients_that_come_at_once_are_all_answered() {
    let server = server().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let ask = async || {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: hark\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.map(|_| answer)
    };
    let answers = futures::future::join_all((0..5 * CONNECTIONS).map(|_| ask())).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))));
}

#[tokio::test]
async fn the_metrics_say_what_is_ready_when_they_are_asked() {
    let server = server().await;
    let ready = async |part: &str| {
        let page = get(&format!("{}/metrics", server.url)).await.2;
        let line = format!("hark_ready{{part=\"{part}\"}} ");
        page.lines().find_map(|other| other.strip_prefix(&line).map(str::to_owned)).unwrap()
    };
    assert_eq!(ready("nats").await, "0");
    server.health.set(Part::Nats, Ok(()));
    assert_eq!((ready("nats").await, ready("ledger").await), ("1".into(), "0".into()));
}

#[tokio::test]
async fn is_alive_before_it_is_ready_and_says_what_is_missing() {
    let server = server().await;
    assert_eq!(get(&format!("{}/healthz", server.url)).await.2, "ok");

    let (status, _, body) = get(&format!("{}/readyz", server.url)).await;
    assert_eq!(status, 503);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["not_ready"].as_array().unwrap().len(), 3);

    server.health.set(Part::Sources, Ok(()));
    server.health.set(Part::Ledger, Ok(()));
    server.health.set(Part::Nats, Err("no server answers".into()));
    let (status, content_type, body) = get(&format!("{}/readyz", server.url)).await;
    assert_eq!((status, content_type.as_str()), (503, "application/json"));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["not_ready"][0]["part"], "nats");
    assert_eq!(body["not_ready"][0]["reason"], "no server answers");

    server.health.set(Part::Nats, Ok(()));
    assert_eq!(get(&format!("{}/readyz", server.url)).await.0, 200);

    server.stop.send(()).unwrap();
    server.task.await.unwrap();
}

#[tokio::test]
async fn serves_metrics_in_the_text_format() {
    let server = server().await;
    let (status, content_type, body) = get(&format!("{}/metrics", server.url)).await;
    assert_eq!((status, content_type.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    assert!(body.contains("hark_publish_outbox_rows 0"), "{body}");
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
}

#[tokio::test]
async fn names_the_key_when_the_address_is_in_use() {
    let taken = bind(&listening("127.0.0.1:0")).await.unwrap();
    let address = taken.address.listen.to_string();
    let error = bind(&listening(&address)).await.err().unwrap().to_string();
    assert!(error.contains("http.listen") && error.contains(&address) && error.contains("in use"), "{error}");
    let error = bind(&listening("9464")).await.err().unwrap().to_string();
    assert!(error.contains("127.0.0.1:9464"), "{error}");
}

/// Dashboards and alerts are written against these names.
#[test]
fn metrics_page_has_the_names_it_has() {
    let metrics = Metrics::new();
    metrics.ready.with_label_values(&["nats"]).set(0);
    metrics.source_accepted.with_label_values(&["calls"]).inc();
    metrics.source_unsettled.with_label_values(&["calls"]).set(0);
    metrics.source_unreadable.with_label_values(&["calls"]).inc();
    metrics.source_not_put_away.with_label_values(&["calls"]).inc();
    metrics.cost_usd.with_label_values(&["calls", "qwen3-asr-flash"]).inc_by(0.1);
    metrics.job_ended.with_label_values(&["calls", "completed"]).inc();
    metrics.job_open.with_label_values(&["queued"]).set(0);
    metrics.recognize_requests.with_label_values(&["flash", "ok"]).inc();
    metrics.recognize_billed_seconds.with_label_values(&["flash"]).inc_by(4);
    metrics.budget_usd.with_label_values(&["[daemon]"]).set(5.0);
    metrics.budget_spent_usd.with_label_values(&["[daemon]"]).set(0.5);
    metrics.recognize_held.with_label_values(&["flash"]).set(0);
    metrics.plugin_state.with_label_values(&["keywords", "running"]).set(1);
    metrics.plugin_failures.with_label_values(&["keywords", "timeout"]).inc();
    metrics.plugin_starts.with_label_values(&["keywords"]).inc();
    metrics.config_reloads.with_label_values(&["applied"]).inc();
    metrics.webhook_paused.with_label_values(&["crm"]).set(0);
    metrics.webhook_requests.with_label_values(&["crm", "taken"]).inc();
    metrics.webhook_set_aside.with_label_values(&["crm"]).set(0);
    metrics.webhook_backlog.with_label_values(&["crm"]).set(0);
    metrics.webhook_removed.with_label_values(&["crm"]).inc();
    let page = metrics.page();
    let types: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let golden = include_str!("../../telemetry/metrics.golden");
    assert_eq!(
        types.join("\n"),
        golden.trim_end(),
        "changing a name breaks dashboards; change metrics.golden with it"
    );
}
