//! The child process that parses and decodes audio files, one after another, until the daemon closes the socket.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::analysis::{PROGRESS_INTERVAL, Progress, analyze};
use super::decode::Decoder;
use super::encode::piece;
use super::measure::measure;
use super::outside::Daemon;
use super::probe::Content;
use super::signals::Signals;
use super::source::Source;
use super::time::Time;
use super::wire::{MOST_BYTES, MOST_INTERRUPTIONS, PACKET, Ready, Reply, Request, Task, from_packet};
use super::{ProbeError, Section, probe};
use crate::config::PieceFormat;
use crate::os::{packet, sandbox};

/// Serves the daemon at the other end of `socket` until the daemon closes it.
///
/// # Errors
/// When the socket fails. A file that makes the parser crash ends the process, and the daemon starts another.
pub fn serve(socket: &OwnedFd) -> io::Result<()> {
    crate::os::return_large_memory();
    let daemon = Daemon::new(socket.try_clone()?);
    let missing = sandbox::confine_audio_worker();
    packet::send(socket.as_fd(), &serde_json::to_vec(&Ready { missing })?, None)?;
    let mut worker = Worker { socket, daemon, decoding: None };
    let mut buffer = vec![0; PACKET];
    while let Some(packet) = packet::receive(socket.as_fd(), &mut buffer)? {
        let request: Request = from_packet(&buffer[..packet.length])?;
        let file = packet.descriptor.ok_or_else(|| io::Error::other("a request came without a file"))?;
        worker.answer(&request, File::from(file))?;
    }
    Ok(())
}

struct Worker<'s> {
    socket: &'s OwnedFd,
    daemon: Daemon,
    /// The recording, and channel, whose pieces are asked for one after another.
    decoding: Option<(u64, Decoder)>,
}

impl Worker<'_> {
    fn answer(&mut self, request: &Request, file: File) -> io::Result<()> {
        let hint = request.extension.as_deref();
        if !matches!(request.task, Task::Piece { .. }) {
            self.decoding = None;
        }
        let reply = match &request.task {
            Task::Probe => Reply::Probed(probe(file, hint)),
            Task::Measure => {
                let mut tell = |until| self.send(&Reply::Until(until));
                Reply::Probed(self.source(file).and_then(|source| measure(source, hint, &mut tell)))
            }
            Task::Analyze(plan) => {
                let mut tell = |heard| match heard {
                    Progress::Piece(section) => self.send(&Reply::Piece(section)),
                    Progress::Until(milliseconds) => self.send(&Reply::Until(milliseconds)),
                };
                let found = self.source(file).and_then(|source| analyze(source, hint, *plan, &mut tell));
                let mut found = found;
                if let Ok(analysis) = &mut found {
                    analysis.sections.clear();
                    let interruptions =
                        analysis.talk.as_mut().map(|talk| std::mem::take(&mut talk.interruptions));
                    let interruptions = interruptions.unwrap_or_default();
                    for (batch, first) in
                        interruptions.chunks(MOST_INTERRUPTIONS).zip((0..).step_by(MOST_INTERRUPTIONS))
                    {
                        self.send(&Reply::Interruptions(first, batch.to_vec()))?;
                    }
                }
                Reply::Analyzed(found)
            }
            Task::Piece { recording, section, format } => {
                Reply::Made(self.piece(file, hint, *recording, section, *format))
            }
        };
        self.send(&reply)
    }

    fn piece(
        &mut self,
        file: File,
        hint: Option<&str>,
        recording: u64,
        section: &Section,
        format: PieceFormat,
    ) -> Result<(), ProbeError> {
        let mut decoder = match self.decoding.take() {
            Some((known, decoder)) if known == recording => decoder,
            _ => {
                let mut source = self.source(file)?;
                let content = Content::find(&mut source, hint)?;
                let signals =
                    section.channel.map_or(Signals::Mixed, |channel| Signals::Only(channel as usize));
                Decoder::open(source, content, signals)?
            }
        };
        self.pass_over(&mut decoder, section.begin_ms())?;
        let mut bytes = Vec::with_capacity(MOST_BYTES);
        let mut send = |made: &[u8]| {
            for part in made.chunks(MOST_BYTES) {
                if bytes.len() + part.len() > MOST_BYTES {
                    self.send(&Reply::Bytes(std::mem::take(&mut bytes)))?;
                }
                bytes.extend_from_slice(part);
            }
            Ok(())
        };
        piece(&mut decoder, &section.parts, format, &mut send)?;
        if decoder.is_outside() && decoder.delivered_ms() + 1_000 < section.end_ms() {
            return Err(ProbeError::NoWorker("ffmpeg was killed while it decoded".into()));
        }
        self.send(&Reply::Bytes(bytes))?;
        self.decoding = Some((recording, decoder));
        Ok(())
    }

    fn source(&self, file: File) -> Result<Source, ProbeError> {
        Ok(Source::new(file)?.with(self.daemon.clone()))
    }

    /// Decodes up to a piece what nothing can search in, and tells how far it is.
    fn pass_over(&self, decoder: &mut Decoder, to_ms: u64) -> Result<(), ProbeError> {
        if !decoder.is_outside() {
            return Ok(());
        }
        let to = Time::try_from(to_ms).unwrap_or(0) * 1_000_000;
        if to < decoder.delivered() {
            decoder.go_to(0)?;
        }
        let mut told = decoder.delivered_ms();
        while decoder.next(to)?.is_some() {
            let until = decoder.delivered_ms();
            if until >= told + PROGRESS_INTERVAL {
                told = until;
                self.send(&Reply::Until(until))?;
            }
        }
        Ok(())
    }

    fn send(&self, reply: &Reply) -> io::Result<()> {
        packet::send(self.socket.as_fd(), &reply.to_packet()?, None)
    }
}
