//! Opens the audio of a recording: with symphonia, or where that has no decoder for it, as ffmpeg decodes it outside of the worker.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::WavReader;

use super::ProbeError;
use super::containers::sound_track;
use super::probe::Content;
use super::source::Source;
use super::wire::{PACKET, Piped, Reply, from_packet};
use crate::os::packet;

/// A recording's audio, opened.
pub(super) struct Opened {
    /// As it was found, or [`Content::Decoded`].
    pub(super) content: Content,
    pub(super) reader: Box<dyn FormatReader>,
    pub(super) codec: Box<dyn AudioDecoder>,
}

impl Opened {
    /// # Errors
    /// When neither symphonia nor ffmpeg can decode the audio, or the container is damaged.
    pub(super) fn new(source: &Source, content: Content) -> Result<Opened, ProbeError> {
        match Opened::with(source, content) {
            Err((ProbeError::Undecodable(_), Some(demuxer))) => {
                Opened::with(source, Content::Decoded(demuxer)).map_err(|(error, _)| error)
            }
            outcome => outcome.map_err(|(error, _)| error),
        }
    }

    /// Number of channels and samples a second, by the container.
    pub(super) fn sound(&self) -> (Option<u32>, Option<u32>) {
        let parameters = sound_track(self.reader.as_ref()).and_then(|it| it.codec_params.as_ref()?.audio());
        let channels = parameters.and_then(|it| it.channels.as_ref()).map(|channels| channels.count() as u32);
        (channels, parameters.and_then(|it| it.sample_rate))
    }

    /// With an error comes the demuxer of ffmpeg for the content.
    fn with(source: &Source, content: Content) -> Result<Opened, (ProbeError, Option<&'static str>)> {
        let opened =
            content.open(source).and_then(|reader| Ok((content.codec(source, reader.as_ref())?, reader)));
        match opened {
            Ok((codec, reader)) => Ok(Opened { content, reader, codec }),
            Err(error) => Err((error, content.demuxer())),
        }
    }
}

/// The way to the daemon, which starts ffmpeg.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    socket: Arc<OwnedFd>,
}

impl Daemon {
    pub(super) fn new(socket: OwnedFd) -> Daemon {
        Daemon { socket: Arc::new(socket) }
    }

    /// Has the file of the present request decoded from its begin on, and opens what comes.
    ///
    /// # Errors
    /// [`ProbeError::NoFfmpeg`], [`ProbeError::NoWorker`], and [`ProbeError::Undecodable`] where ffmpeg decodes nothing.
    pub(super) fn decode(&self, demuxer: &str) -> Result<Box<dyn FormatReader>, ProbeError> {
        let pipe = self.ask(demuxer).map_err(|error| ProbeError::NoWorker(error.to_string()))??;
        let stream = MediaSourceStream::new(Box::new(ReadOnlySource::new(pipe)), Default::default());
        let reader = WavReader::try_new(stream, FormatOptions::default());
        let nothing = |_| ProbeError::Undecodable("ffmpeg cannot decode it either".into());
        Ok(Box::new(reader.map_err(nothing)?))
    }

    fn ask(&self, demuxer: &str) -> io::Result<Result<File, ProbeError>> {
        let request = Reply::Decode(demuxer.to_owned()).to_packet()?;
        packet::send(self.socket.as_fd(), &request, None)?;
        let mut buffer = vec![0; PACKET];
        let packet = packet::receive(self.socket.as_fd(), &mut buffer)?;
        let packet = packet.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let Piped(answer) = from_packet(&buffer[..packet.length])?;
        Ok(match answer {
            Ok(()) => Ok(File::from(packet.descriptor.ok_or_else(|| io::Error::other("no pipe came"))?)),
            Err(error) => Err(error),
        })
    }
}
