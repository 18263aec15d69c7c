//! Connections that can be reset from within a handler.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A handle on the connection on which a request arrived.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    reset: Arc<AtomicBool>,
}

impl Wire {
    /// From now on nothing is sent; the peer sees a reset as soon as the server tries to write.
    pub fn reset(&self) {
        self.reset.store(true, Ordering::Release);
    }
}

/// A body of which only the first bytes are sent; then the connection is reset.
pub fn cut(body: Body, after_bytes: u64, wire: Wire) -> Body {
    let left = usize::try_from(after_bytes).unwrap_or(usize::MAX);
    let head = stream::unfold((body.into_data_stream(), left), |(mut body, left)| async move {
        let chunk = next_chunk(&mut body).await?;
        let kept = chunk.slice(..chunk.len().min(left));
        (!kept.is_empty()).then(|| {
            let left = left - kept.len();
            (Ok::<Bytes, io::Error>(kept), (body, left))
        })
    });
    let end = stream::once(async move {
        // The wait lets the server flush what it has written; a reset would discard that.
        tokio::time::sleep(FLUSH).await;
        wire.reset();
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(head.chain(end))
}

/// A body that is sent one byte at a time.
pub fn split(body: Body) -> Body {
    let bytes = chunks(body).flat_map(|chunk| {
        let bytes: Vec<io::Result<Bytes>> =
            (0..chunk.len()).map(|position| Ok(chunk.slice(position..=position))).collect();
        stream::iter(bytes)
    });
    Body::from_stream(bytes)
}

fn chunks(body: Body) -> impl Stream<Item = Bytes> {
    stream::unfold(
        body.into_data_stream(),
        |mut body| async move { Some((next_chunk(&mut body).await?, body)) },
    )
}

/// The bodies here are the emulator's own answers and do not fail; an error would end them as their end does.
async fn next_chunk(body: &mut BodyDataStream) -> Option<Bytes> {
    body.next().await?.ok()
}

/// Accepts connections that carry a [`Wire`].
pub struct WireListener(pub TcpListener);

/// A TCP stream that fails, and resets its peer, once its [`Wire`] is reset.
pub struct WireStream {
    stream: TcpStream,
    wire: Wire,
}

impl Listener for WireListener {
    type Io = WireStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (WireStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Pieces of a stream are sent when they are written: joined pieces would test less of the client.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small writes will be merged");
        }
        (WireStream { stream, wire: Wire::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, WireListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, WireListener>) -> Wire {
        stream.io().wire.clone()
    }
}

impl WireStream {
    fn check(&self) -> io::Result<()> {
        if self.wire.reset.load(Ordering::Acquire) {
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        Ok(())
    }
}

impl Drop for WireStream {
    fn drop(&mut self) {
        if self.check().is_err() {
            // Closing then sends RST in place of FIN. If the option cannot be set, the peer sees an early end.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for WireStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WireStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Far longer than a flush to a local peer takes.
const FLUSH: Duration = Duration::from_millis(20);
