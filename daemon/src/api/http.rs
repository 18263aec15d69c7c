//! What the daemon serves over HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! No handler waits for the rest of the daemon: a probe is answered from the last report of each part, so the daemon answers even while
//! NATS, the disk or the service hangs.

pub mod connections;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use self::connections::{ConnectionHandle, ConnectionLimit};
use super::health::{Health, Part};
use crate::config::listen_address;
use crate::telemetry::metrics::Metrics;

use crate::telemetry::logging::readable_json;

/// The content type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the daemon has no HTTP listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{0}")]
    Address(String),
    #[error(
        "http.listen: {address} is in use; stop the other process, or set http.listen to another port or \"\" (off)"
    )]
    InUse { address: SocketAddr },
    #[error("http.listen: {address}: {source}")]
    Io { address: SocketAddr, source: io::Error },
}

/// Binds the port, so that a start fails before any work has begun if the port is taken. Requests are answered from [`serve`] on.
///
/// # Errors
/// When the address cannot be parsed, is in use, or may not be bound; the error names the key.
pub async fn bind(listen: &str) -> Result<TcpListener, BindError> {
    let address = listen_address(listen).map_err(BindError::Address)?;
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Io { address, source },
    })
}

/// Answers until `stop`, then finishes the answers that are under way; a client whose request has not arrived by then is not waited for.
///
/// # Errors
/// When the listener fails; the daemon can run on without it.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let pages = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readiness))
        .with_state(health.clone())
        .route("/metrics", get(page).with_state((metrics, health)));
    serve_pages(listener, pages, stop).await
}

/// Handlers receive their connection as [`ConnectionHandle`].
async fn serve_pages(
    listener: TcpListener,
    pages: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let pages = pages.into_make_service_with_connect_info::<ConnectionHandle>();
    axum::serve(ConnectionLimit::new(listener), pages).with_graceful_shutdown(stop).await
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
