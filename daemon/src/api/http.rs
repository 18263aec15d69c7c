//! What the daemon serves over HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! No handler waits for the rest of the daemon: a probe is answered from the last report of each part, so the daemon answers even while
//! NATS, the disk or the service hangs.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::debug;

use super::health::{Health, Part};
use crate::config::listen_address;
use crate::telemetry::logging::readable_json;
use crate::telemetry::metrics::Metrics;

/// Connections that may be open at a time: more than probes, scrapers and browsers need, few among the descriptors that recordings need too.
/// Further clients wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// How long a connection may be open without a complete request; then the server closes it, so that no client keeps its place by waiting.
/// An answer that is under way has no limit.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// The content type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the daemon has no HTTP listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{0}")]
    Address(String),
    #[error("http.listen: {address}: {source}; set http.listen to an address that is free, or to \"\" (off)")]
    Io { address: SocketAddr, source: io::Error },
}

/// Binds the port, so that a start fails before any work has begun if the port is taken. Requests are answered from [`serve`] on.
///
/// # Errors
/// When the address cannot be parsed, is in use, or may not be bound; the error names the key.
pub async fn bind(listen: &str) -> Result<TcpListener, BindError> {
    let address = listen_address(listen).map_err(BindError::Address)?;
    TcpListener::bind(address).await.map_err(|source| BindError::Io { address, source })
}

/// Answers until `stop`, then finishes the answers that are under way; a client whose request has not arrived by then has `REQUEST_LIMIT`.
pub async fn serve(listener: TcpListener, health: Health, metrics: Metrics, stop: impl Future<Output = ()>) {
    let pages = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readiness))
        .with_state(health.clone())
        .route("/metrics", get(page).with_state((metrics, health)));
    serve_pages(listener, pages, stop).await;
}

async fn serve_pages(mut listener: TcpListener, pages: Router, stop: impl Future<Output = ()>) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_LIMIT);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let open = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            // When the process has no free descriptor, `accept` waits a second and tries again.
            (place, Listener::accept(&mut listener).await)
        };
        let (place, (stream, _)) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(pages.clone());
        let connection = open.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "an HTTP connection ended");
            }
            drop(place);
        });
    }
    open.shutdown().await;
}

async fn readiness(State(health): State<Health>) -> Response {
    let missing = health.missing();
    let (status, ready) = match missing.as_slice() {
        [] => (StatusCode::OK, true),
        _ => (StatusCode::SERVICE_UNAVAILABLE, false),
    };
    let body = json!({ "ready": ready, "not_ready": missing }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], readable_json(&body).into_owned()).into_response()
}

async fn page(State((metrics, health)): State<(Metrics, Health)>) -> Response {
    let missing = health.missing();
    for part in Part::ALL {
        let is_ready = missing.iter().all(|missing| missing.part != part);
        metrics.ready.with_label_values(&[part.as_str()]).set(is_ready.into());
    }
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.page()).into_response()
}

#[cfg(test)]
mod tests;
