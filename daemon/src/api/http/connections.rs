//! The limit of open connections.
//!
//! Each connection takes a descriptor, which recordings need too, and HTTP does not force a client to finish its request. So at most
//! `MOST` connections are open: a further connection closes the oldest one that is not a stream, once that has been open for `GRACE`,
//! and the end of the daemon closes all. The daemon answers requests at once, so the limit affects only clients that keep the daemon
//! waiting. A long response declares itself a stream ([`ConnectionHandle::keep`]) and is not closed for a further connection; streams may
//! take half of the places, so that probes always find one.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// More than probes, scrapers and browsers need; few among the descriptors of a daemon.
pub const MOST: usize = 64;

/// Half of the places.
pub const MOST_STREAMS: usize = MOST / 2;

/// The time that a client has at least to send its request and read the answer when many connect at once. Further clients wait in the
/// kernel's queue.
const GRACE: Duration = Duration::from_millis(200);

/// A listener whose connections are limited.
#[derive(Debug)]
pub struct ConnectionLimit {
    listener: TcpListener,
    /// By age.
    open: VecDeque<Open>,
    streams: Arc<Semaphore>,
}

/// An open connection, as the limit records it.
#[derive(Debug)]
struct Open {
    /// Dropping the sender closes the connection; `closed()` resolves when the connection has ended.
    closer: oneshot::Sender<()>,
    since: Instant,
    is_stream: Arc<AtomicBool>,
}

/// A connection that the limit may close.
#[derive(Debug)]
pub struct LimitedConnection {
    stream: TcpStream,
    closing: oneshot::Receiver<()>,
    is_closed: bool,
    handle: ConnectionHandle,
}

/// What a handler receives about its connection, through [`axum::extract::ConnectInfo`].
#[derive(Debug, Clone)]
pub struct ConnectionHandle {
    is_stream: Arc<AtomicBool>,
    streams: Arc<Semaphore>,
}

/// A connection counts as a stream for as long as its response holds this.
#[derive(Debug)]
pub struct Stream {
    is_stream: Arc<AtomicBool>,
    _place: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    pub fn new(listener: TcpListener) -> Self {
        ConnectionLimit { listener, open: VecDeque::new(), streams: Arc::new(Semaphore::new(MOST_STREAMS)) }
    }

    /// Closes the oldest connection that is not a stream. There is one, because streams have at most half of the places.
    async fn make_room(&mut self) {
        let oldest = self.open.iter().position(|open| !open.is_stream.load(Ordering::Relaxed));
        if let Some(mut oldest) = oldest.and_then(|position| self.open.remove(position)) {
            // The connection has ended, or has been open for too long: its place is free either way.
            let _ = timeout_at(oldest.since + GRACE, oldest.closer.closed()).await;
        }
    }
}

impl Listener for ConnectionLimit {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (LimitedConnection, SocketAddr) {
        // `accept` waits a second when the process has no free descriptor.
        let (stream, from) = Listener::accept(&mut self.listener).await;
        self.open.retain(|open| !open.closer.is_closed());
        if self.open.len() >= MOST {
            self.make_room().await;
        }
        let (closer, closing) = oneshot::channel();
        let handle = ConnectionHandle { is_stream: Arc::default(), streams: Arc::clone(&self.streams) };
        self.open.push_back(Open { closer, since: Instant::now(), is_stream: Arc::clone(&handle.is_stream) });
        (LimitedConnection { stream, closing, is_closed: false, handle }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl ConnectionHandle {
    /// Declares the response a stream. `None`: [`MOST_STREAMS`] are open already, and the handler has to refuse the request.
    pub fn keep(&self) -> Option<Stream> {
        let place = Arc::clone(&self.streams).try_acquire_owned().ok()?;
        self.is_stream.store(true, Ordering::Relaxed);
        Some(Stream { is_stream: Arc::clone(&self.is_stream), _place: place })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.is_stream.store(false, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, ConnectionLimit>> for ConnectionHandle {
    fn connect_info(connection: IncomingStream<'_, ConnectionLimit>) -> Self {
        connection.io().handle.clone()
    }
}

impl LimitedConnection {
    /// Called while the connection waits for its client: pending until the limit closes the connection.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.is_closed {
            // No value is ever sent; the drop of the sender is the signal.
            let _ = ready!(Pin::new(&mut self.closing).poll(context));
            self.is_closed = true;
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            outcome => outcome,
        }
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.wait(context),
            outcome => outcome,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
