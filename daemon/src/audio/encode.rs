//! Makes the bytes of a piece: 16 kHz, one channel, 16 bits, as FLAC or WAV.

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, Stream, StreamInfo};
use flacenc::config;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Fill, FrameBuf};

use super::decode::Decoder;
use super::resample::{RATE, To16k};
use super::time::Time;
use super::{ProbeError, Span};
use crate::config::PieceFormat;

/// Samples of a block of FLAC.
const BLOCK: usize = 4096;

const BITS: usize = 16;

/// Nanoseconds of a millisecond.
const MILLISECOND: Time = 1_000_000;

/// Decodes parts of a recording, of the decoder's first lane, and hands the bytes of a file with one right behind the other to `send` as they
/// are made. A recording that ends before a part does ends in silence.
///
/// # Errors
/// When the file cannot be read or decoded.
pub(super) fn piece(
    decoder: &mut Decoder,
    parts: &[Span],
    format: PieceFormat,
    send: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), ProbeError> {
    let count = |part: &Span| (part.length() * u64::from(RATE) / 1000) as usize;
    let total = parts.iter().map(count).sum();
    let mut encoder = Encoder::new(format, total)?;
    encoder.begin(send)?;
    let (mut samples, mut left) = (Vec::new(), total);
    for part in parts {
        // Samples of the parts before that are not encoded yet.
        let mut rest = samples.len() + count(part);
        let mut encode = |samples: &mut Vec<f32>, rest: &mut usize| {
            let whole = samples.len().min(*rest) / BLOCK * BLOCK;
            encoder.push(&samples[..whole], send)?;
            samples.drain(..whole);
            (left, *rest) = (left - whole, *rest - whole);
            Ok::<_, ProbeError>(())
        };
        let [begin, end] =
            [part.begin_ms, part.end_ms].map(|time| Time::try_from(time).unwrap_or(0) * MILLISECOND);
        decoder.go_to(begin)?;
        let mut to_16k: Option<To16k> = None;
        while let Some(block) = decoder.next(end)? {
            if to_16k.as_ref().is_some_and(|it| it.rate() != block.rate)
                && let Some(mut before) = to_16k.take()
            {
                before.finish(&mut samples);
            }
            let resampler = match &mut to_16k {
                Some(resampler) => resampler,
                none => none.insert(To16k::new(block.rate)?),
            };
            resampler.push(block.lane(0), &mut samples);
            encode(&mut samples, &mut rest)?;
        }
        if let Some(mut resampler) = to_16k {
            resampler.finish(&mut samples);
        }
        samples.resize(rest, 0.0);
        encode(&mut samples, &mut rest)?;
    }
    samples.resize(left, 0.0);
    encoder.push(&samples, send)
}

enum Encoder {
    Wav(u32),
    Flac { config: Box<Verified<config::Encoder>>, info: Box<StreamInfo>, frame: Box<FrameBuf>, count: usize },
}

impl Encoder {
    fn new(format: PieceFormat, total: usize) -> Result<Encoder, ProbeError> {
        if format == PieceFormat::Wav {
            return Ok(Encoder::Wav(u32::try_from(total * BITS / 8).unwrap_or(u32::MAX)));
        }
        let mut config = config::Encoder::default();
        config.multithread = false;
        config.block_size = BLOCK;
        // Predicting by a model makes speech a few hundredths smaller and takes three times the time.
        config.subframe_coding.use_lpc = false;
        let config = config.into_verified().map_err(|(_, error)| refused(&error))?;
        let mut info = StreamInfo::new(RATE as usize, 1, BITS).map_err(|error| refused(&error))?;
        info.set_total_samples(total);
        info.set_block_sizes(BLOCK, BLOCK).map_err(|error| refused(&error))?;
        let frame = FrameBuf::with_size(1, BLOCK).map_err(|error| refused(&error))?;
        Ok(Encoder::Flac { config: Box::new(config), info: Box::new(info), frame: Box::new(frame), count: 0 })
    }

    fn begin(&self, send: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<(), ProbeError> {
        match self {
            Encoder::Wav(length) => {
                let rate = RATE.to_le_bytes();
                let bytes_a_second = (RATE * 2).to_le_bytes();
                let header = [
                    &b"RIFF"[..],
                    &length.saturating_add(36).to_le_bytes(),
                    b"WAVEfmt \x10\0\0\0\x01\0\x01\0",
                    &rate,
                    &bytes_a_second,
                    b"\x02\0\x10\0data",
                    &length.to_le_bytes(),
                ];
                send(&header.concat())?;
            }
            Encoder::Flac { info, .. } => {
                let mut sink = ByteSink::new();
                Stream::with_stream_info((**info).clone())
                    .write(&mut sink)
                    .map_err(|error| refused(&error))?;
                send(sink.as_slice())?;
            }
        }
        Ok(())
    }

    /// Takes whole blocks, and at last what remains.
    fn push(
        &mut self,
        samples: &[f32],
        send: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ProbeError> {
        // The cast saturates.
        let numbers =
            |samples: &[f32]| samples.iter().map(|it| (it * 32_768.0).round() as i16).collect::<Vec<_>>();
        for block in samples.chunks(BLOCK) {
            let numbers = numbers(block);
            match self {
                Encoder::Wav(_) => {
                    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                    send(&bytes)?;
                }
                Encoder::Flac { config, info, frame, count } => {
                    let numbers: Vec<i32> = numbers.into_iter().map(i32::from).collect();
                    frame.resize(numbers.len());
                    frame.fill_interleaved(&numbers).map_err(|error| refused(&error))?;
                    let made = flacenc::encode_fixed_size_frame(config, frame, *count, info);
                    let mut sink = ByteSink::new();
                    made.map_err(|error| refused(&error))?
                        .write(&mut sink)
                        .map_err(|error| refused(&error))?;
                    send(sink.as_slice())?;
                    *count += 1;
                }
            }
        }
        Ok(())
    }
}

fn refused(error: &dyn std::fmt::Display) -> ProbeError {
    ProbeError::Undecodable(format!("the encoder of FLAC refuses it: {error}"))
}
