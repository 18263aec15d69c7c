//! Packets over a Unix socket (SOCK_SEQPACKET), each with at most one descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A received packet: its length in the buffer, and the descriptor that was sent with it.
#[derive(Debug)]
pub struct Packet {
    pub length: usize,
    pub descriptor: Option<OwnedFd>,
}

/// The daemon's end of the socket; waits without blocking a thread.
#[derive(Debug)]
pub struct PacketSocket {
    /// Used only for its registration with the runtime, which accepts any connected Unix socket; `send` and `receive` make the system
    /// calls.
    socket: UnixStream,
}

impl PacketSocket {
    /// Wraps a connected packet socket. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be registered with the runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(PacketSocket { socket: UnixStream::from_std(socket)? })
    }

    /// Sends one packet; waits while the peer's buffer is full. The kernel duplicates the descriptor into the peer; the caller keeps its
    /// own.
    ///
    /// # Errors
    /// `BrokenPipe` when the peer is gone.
    pub async fn send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.socket.async_io(Interest::WRITABLE, || send(self.socket.as_fd(), bytes, descriptor)).await
    }

    /// Receives one packet, or `None` when the peer has closed or died.
    ///
    /// # Errors
    /// `InvalidData` for a packet longer than the buffer.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Packet>> {
        self.socket.async_io(Interest::READABLE, || receive(self.socket.as_fd(), buffer)).await
    }
}

/// Sends one packet; blocks if the socket does. See [`PacketSocket::send`].
///
/// # Errors
/// `BrokenPipe` when the peer is gone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors
        && !control.push(SendAncillaryMessage::ScmRights(descriptors))
    {
        return Err(io::Error::other("no room for a descriptor in the control message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet, or `None` at the end; blocks if the socket does. See [`PacketSocket::receive`].
///
/// # Errors
/// `InvalidData` for a packet longer than the buffer.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Packet>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // The peer died and left packets of this end unread.
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            outcome => break outcome?,
        }
    };
    let mut descriptor = None;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = part {
            descriptor = descriptors.next();
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet is longer than the buffer for it"));
    }
    // No packet of this protocol is empty, so zero bytes mean the end of the stream.
    Ok((message.bytes > 0).then_some(Packet { length: message.bytes, descriptor }))
}
