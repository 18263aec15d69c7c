//! One audio worker, as the daemon sees it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;

use super::ffmpeg::{self, Decoding};
use super::wire::{PACKET, Piped, Ready, Reply, Request, Task, from_packet};
use super::{Probe, ProbeError};
use crate::os::{ChildCommand, Limits, PacketSocket, cpu_time};

/// Resource limits of a worker. Parsing takes a few megabytes; the CPU seconds are for the worker's whole life.
const LIMITS: Limits = Limits {
    memory: Some(256 << 20),
    cpu_seconds: Some(600),
    // The standard three, the socket, two files, and some to spare.
    descriptors: Some(16),
    file_bytes: Some(0),
    tasks: None,
};

#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    socket: PacketSocket,
    buffer: Vec<u8>,
    /// What decodes the recording that the worker reads.
    pub(super) decoding: Option<Decoding>,
    /// How many it has served.
    pub(super) files: u32,
}

impl Child {
    /// # Errors
    /// When no process can be started.
    pub(super) async fn start(executable: &Path) -> io::Result<Child> {
        let (process, socket) =
            ChildCommand::new(executable, "audio-worker").limits(LIMITS).spawn_packets().await?;
        let mut child = Child { process, socket, buffer: vec![0; PACKET], decoding: None, files: 0 };
        let Some(packet) = child.socket.receive(&mut child.buffer).await? else {
            return Err(io::Error::other(format!("it ended at once: {}", child.fate().await.0)));
        };
        let ready: Ready = from_packet(&child.buffer[..packet.length])?;
        for missing in ready.missing {
            debug!(missing, "the audio worker's sandbox is not complete");
        }
        Ok(child)
    }

    /// Sends a request and waits for the first message of its answer.
    ///
    /// # Errors
    /// The worker died, or gave an answer that the parser cannot give: then a hostile file may control the worker.
    pub(super) async fn ask(&mut self, file: &File, hint: Option<&str>, task: &Task) -> io::Result<Reply> {
        let extension = hint.filter(|it| it.len() <= 16).map(str::to_owned);
        let request = serde_json::to_vec(&Request { extension, task: task.clone() })?;
        self.socket.send(&request, Some(file.as_fd())).await?;
        self.receive().await
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub(super) async fn receive(&mut self) -> io::Result<Reply> {
        let packet = self.socket.receive(&mut self.buffer).await?;
        let packet = packet.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let reply = Reply::of_packet(&self.buffer[..packet.length])?;
        let probe = match &reply {
            Reply::Probed(Ok(probe)) => Some(probe),
            Reply::Analyzed(Ok(analysis)) => Some(&analysis.probe),
            _ => None,
        };
        if probe.is_some_and(|probe| !has_names(probe)) {
            return Err(io::Error::other("the answer is not one that the parser gives"));
        }
        Ok(reply)
    }

    /// Answers [`Reply::Decode`]: starts this ffmpeg for the file, and hands the pipe to the worker. Waits for the worker's next message.
    ///
    /// # Errors
    /// As for [`Self::ask`].
    pub(super) async fn decode(
        &mut self,
        executable: &Path,
        program: Option<&Path>,
        file: &File,
        demuxer: &str,
    ) -> io::Result<Reply> {
        self.decoding = None;
        let (answer, pipe) = match program {
            None => (Err(ProbeError::NoFfmpeg(String::new())), None),
            Some(program) => match ffmpeg::start(executable, program, file, demuxer).await {
                Ok((decoding, pipe)) => {
                    self.decoding = Some(decoding);
                    (Ok(()), Some(pipe))
                }
                Err(error) => (Err(ProbeError::NoWorker(error.to_string())), None),
            },
        };
        let answer = serde_json::to_vec(&Piped(answer))?;
        self.socket.send(&answer, pipe.as_ref().map(AsFd::as_fd)).await?;
        drop(pipe);
        self.receive().await
    }

    /// CPU time that the worker has used so far.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        self.process.id().and_then(cpu_time)
    }

    /// How the worker ended, in a few words, and whether a SIGKILL ended it. Waits at most a second for its end.
    pub(super) async fn fate(&mut self) -> (String, bool) {
        // The socket closes a moment before the process is gone.
        let status = timeout(Duration::from_secs(1), self.process.wait()).await;
        match status.ok().and_then(Result::ok) {
            Some(status) => (status.to_string(), status.signal() == Some(libc::SIGKILL)),
            None => ("it gave no valid answer and did not exit".into(), false),
        }
    }
}

/// Whether format and codec have the form of names. The names go into events and logs, so a worker under a hostile file's control must not
/// be able to choose any text.
pub(super) fn has_names(probe: &Probe) -> bool {
    std::iter::once(&probe.format).chain(&probe.codec).all(|text| {
        (1..=16).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    })
}
