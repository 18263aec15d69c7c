//! The child that parses: one file after another, until the socket closes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::{Probe, ProbeError, probe};
use crate::os::{packet, sandbox};

/// What the daemon asks; the file comes along as a descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) extension: Option<String>,
}

/// The first packet of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// What the kernel could not take away, for the log.
    pub(super) missing: Vec<String>,
}

/// What it answers.
pub(super) type Answer = Result<Probe, ProbeError>;

/// The longest packet either way, bytes; names of containers and a sentence are all there is to say.
pub(super) const PACKET: usize = 4 << 10;

/// Serves the daemon at the other end of `socket` until it hangs up.
///
/// # Errors
/// When the socket fails. A file that makes us fail ends the process, and the daemon starts another.
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
