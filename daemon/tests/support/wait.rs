//! Waits for a condition, up to a ceiling, instead of sleeping for a guessed time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far above what any wait takes, also on a busy machine: it ends a test that would hang.
pub const CEILING: Duration = Duration::from_secs(30);

/// As [`CEILING`], for waits that include redeliveries: a message whose daemon is gone comes again after `ack_wait`.
pub const REDELIVERY: Duration = Duration::from_secs(75);

/// Polls the condition every 10 ms until it holds.
///
/// # Panics
/// If the condition does not hold within `ceiling`. The message has `what`, as in "waited 30 s for …".
pub async fn wait_until(what: &str, ceiling: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < ceiling, "waited {ceiling:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Status and body of a GET, or `None` if the server does not answer.
pub async fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    http(address, "GET", path, "").await
}

/// Status and body of a request, or `None` if the server does not answer within 5 s.
pub async fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n")?.1.to_owned();
        Some((status, body))
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await.ok().flatten()
}
