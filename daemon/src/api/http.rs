//! The daemon's HTTP server: connections, TLS, and its end.
//!
//! A probe is answered from the last report of each part, so the daemon answers even while NATS, the disk or the service hangs.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::access::Address;
use super::routes::router;
use super::state::Api;
use crate::config::{Http, UnusableTls, listen_address, server_tls};

/// Open connections at a time: enough for probes, scrapers and fifty viewers with a stream each, and few compared with the descriptors that
/// recordings need. Further clients wait in the kernel's queue.
pub const CONNECTIONS: usize = 256;

/// How long a connection may be open without a complete request; then the server closes it, so that no client keeps its place by waiting.
/// An answer that is under way has no limit.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// How long the two sides may take to agree on TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// How long answers in progress may take once the server stops, so that a client that does not read its answer cannot delay the stop.
const FINISHING: Duration = Duration::from_secs(5);

/// Why the daemon has no HTTP listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{0}")]
    Address(String),
    #[error("http.listen: {address}: {source}; set http.listen to an address that is free, or to \"\" (off)")]
    Io { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Certificate(#[from] UnusableTls),
}

/// A port that is bound and answers nothing yet.
pub struct Bound {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Where it listens.
    pub address: Address,
}

/// Binds the port, so that a start fails before any work has begun if the port is taken. Requests are answered from [`serve`] on.
///
/// # Errors
/// When the address cannot be parsed, is in use, or may not be bound, or the certificate cannot be used; the error names the key.
pub async fn bind(config: &Http) -> Result<Bound, BindError> {
    let address = listen_address(&config.listen).map_err(BindError::Address)?;
    let tls = match config.tls_cert.as_os_str().is_empty() {
        true => None,
        false => Some(TlsAcceptor::from(Arc::new(server_tls(&config.tls_cert, &config.tls_key)?))),
    };
    let failed = |source| BindError::Io { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let listen = listener.local_addr().map_err(failed)?;
    let address = Address { listen, hosts: config.hosts.clone(), is_tls: tls.is_some() };
    Ok(Bound { listener, tls, address })
}

/// Answers until `stop`, then finishes the answers that are under way, for at most `FINISHING`.
pub async fn serve(bound: Bound, api: Api, stop: impl Future<Output = ()>) {
    let Bound { listener, tls, .. } = bound;
    serve_pages(listener, tls, router(api), stop).await;
}

async fn serve_pages(
    mut listener: TcpListener,
    tls: Option<TlsAcceptor>,
    pages: Router,
    stop: impl Future<Output = ()>,
) {
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
        let (pages, tls, watcher) = (pages.clone(), tls.clone(), open.watcher());
        tokio::spawn(async move {
            match tls {
                None => answer(stream, pages, watcher).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => answer(stream, pages, watcher).await,
                    Ok(Err(error)) => debug!(%error, "a TLS connection was not made"),
                    Err(_) => debug!("a TLS connection was not made in time"),
                },
            }
            drop(place);
        });
    }
    if tokio::time::timeout(FINISHING, open.shutdown()).await.is_err() {
        debug!("some clients have not read their answers to the end");
    }
}

/// Answers the requests of one connection.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, pages: Router, watcher: Watcher) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_LIMIT);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    if let Err(error) = watcher.watch(connection).await {
        debug!(%error, "an HTTP connection ended");
    }
}

#[cfg(test)]
mod tests;
