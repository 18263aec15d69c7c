//! The child process that parses audio files, one after another, until the daemon closes the socket.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::{Probe, ProbeError, probe};
use crate::os::{packet, sandbox};

/// The daemon's request; the file's descriptor comes with the packet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) extension: Option<String>,
}

/// The first packet that a worker sends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Parts of the sandbox that the kernel does not provide, for the log.
    pub(super) missing: Vec<String>,
}

/// The worker's answer to a request.
pub(super) type Answer = Result<Probe, ProbeError>;

/// The longest packet in either direction, in bytes: names of formats and a sentence fit.
pub(super) const PACKET: usize = 4 << 10;

/// Serves the daemon at the other end of `socket` until the daemon closes it.
///
/// # Errors
/// When the socket fails. A file that makes the parser crash ends the process, and the daemon starts another.
pub fn serve(socket: &OwnedFd) -> io::Result<()> {
    let missing = sandbox::confine_audio_worker();
    send(socket.as_fd(), &Ready { missing })?;
    let mut buffer = [0; PACKET];
    while let Some(packet) = packet::receive(socket.as_fd(), &mut buffer)? {
        let request: Request = serde_json::from_slice(&buffer[..packet.length])?;
        let file = packet.descriptor.ok_or_else(|| io::Error::other("a request came without a file"))?;
        let answer: Answer = probe(File::from(file), request.extension.as_deref());
        send(socket.as_fd(), &answer)?;
    }
    Ok(())
}

fn send(socket: BorrowedFd<'_>, message: &impl Serialize) -> io::Result<()> {
    packet::send(socket, &serde_json::to_vec(message)?, None)
}
