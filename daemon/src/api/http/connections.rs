//! Who may keep a connection open, and for how long: as long as nobody needs its place.
//!
//! Each connection is a descriptor, which recordings need too, and nothing in HTTP makes a client finish what it began. So there are places
//! for [`MOST`]; whoever comes then takes that of the one who has been inside longest, [`GRACE`] at least, and at the end of the daemon all
//! go. What is asked is answered at once, so this meets only those who keep us waiting.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// More than probes, scrapers and people with a browser need; few among the descriptors of a daemon.
pub const MOST: usize = 64;

/// What a client has to ask in, and to leave in, when many come at once. Those behind it wait in the kernel's queue.
const GRACE: Duration = Duration::from_millis(200);

/// Lets in, and shows out.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    /// By age, with the time of coming. One that is dropped sends its guest away; one whose guest has left is closed.
    inside: VecDeque<(oneshot::Sender<()>, Instant)>,
}

/// A connection.
#[derive(Debug)]
pub struct Guest {
    stream: TcpStream,
    place: oneshot::Receiver<()>,
    sent_away: bool,
}

impl Door {
    pub fn new(listener: TcpListener) -> Self {
        Door { listener, inside: VecDeque::new() }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        // Waits a second where there is no descriptor for it.
        let (stream, from) = Listener::accept(&mut self.listener).await;
        self.inside.retain(|(guest, _)| !guest.is_closed());
        if self.inside.len() == MOST
            && let Some((mut oldest, since)) = self.inside.pop_front()
        {
            // Gone, or for too long inside: the place is free either way.
            let _ = timeout_at(since + GRACE, oldest.closed()).await;
        }
        let (inside, place) = oneshot::channel();
        self.inside.push_back((inside, Instant::now()));
        (Guest { stream, place, sent_away: false }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Guest {
    /// For a client that is waited for: until it is sent away.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.sent_away {
            // Nothing is ever sent; the sender's end is the message.
            let _ = ready!(Pin::new(&mut self.place).poll(context));
            self.sent_away = true;
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncRead for Guest {
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

impl AsyncWrite for Guest {
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
