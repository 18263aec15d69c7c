//! Opus for symphonia, which demuxes it and does not decode it.

use opus_pure::OpusDecoder;
use symphonia::core::audio::{
    AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, GenericAudioBufferRef, layouts,
};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{
    AudioCodecParameters, AudioDecoder, AudioDecoderOptions, FinalizeResult,
};
use symphonia::core::codecs::registry::{RegisterableAudioDecoder, SupportedAudioCodec};
use symphonia::core::errors::{Error, Result, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

/// The rate at which containers count the samples of Opus, whatever it is decoded to (RFC 7845).
const COUNTED: u32 = 48_000;

/// A packet has at most 120 ms (RFC 6716).
const LONGEST_PACKET_MS: usize = 120;

/// A decoder of mono and stereo Opus, to the rate of its parameters: 8, 12, 16, 24 or 48 kHz.
pub(super) struct Opus {
    parameters: AudioCodecParameters,
    decoder: OpusDecoder,
    channels: usize,
    /// Samples of one packet, the channels interleaved.
    samples: Vec<f32>,
    buffer: AudioBuffer<f32>,
    rate: u32,
}

impl Opus {
    fn new(parameters: &AudioCodecParameters) -> Result<Opus> {
        let channels = parameters.channels.as_ref().map_or(1, |channels| channels.count());
        let layout = match channels {
            1 => layouts::CHANNEL_LAYOUT_MONO,
            2 => layouts::CHANNEL_LAYOUT_STEREO,
            _ => return unsupported_error("opus: more than two channels"),
        };
        let rate = parameters.sample_rate.unwrap_or(COUNTED);
        let decoder =
            OpusDecoder::new(rate as i32, channels).map_err(|_| Error::Unsupported("opus: sample rate"))?;
        let longest = rate as usize * LONGEST_PACKET_MS / 1_000;
        Ok(Opus {
            parameters: parameters.clone(),
            decoder,
            channels,
            samples: vec![0.0; longest * channels],
            buffer: AudioBuffer::new(AudioSpec::new(rate, layout), longest),
            rate,
        })
    }

    /// Samples of the decoder for samples as the container counts them.
    fn decoded(&self, counted: u64) -> usize {
        usize::try_from(counted * u64::from(self.rate) / u64::from(COUNTED)).unwrap_or(usize::MAX)
    }
}

impl AudioDecoder for Opus {
    fn reset(&mut self) {
        // It fails only where it could not be made either.
        let _ = self.decoder.reset_state();
    }

    fn codec_info(&self) -> &CodecInfo {
        &CODECS[0].info
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.parameters
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        let longest = self.samples.len() / self.channels;
        let Ok(decoded) = self.decoder.decode(packet.data, longest, &mut self.samples) else {
            return decode_error("opus: damaged packet");
        };
        self.buffer.clear();
        self.buffer.render_uninit(Some(decoded));
        self.buffer.copy_from_slice_interleaved(&&self.samples[..decoded * self.channels]);
        let (start, end) = (self.decoded(packet.trim_start.get()), self.decoded(packet.trim_end.get()));
        self.buffer.trim(start, end);
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

const CODECS: &[SupportedAudioCodec] = &[SupportedAudioCodec {
    id: CODEC_ID_OPUS,
    info: CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] },
}];

impl RegisterableAudioDecoder for Opus {
    fn try_registry_new(
        parameters: &AudioCodecParameters,
        _: &AudioDecoderOptions,
    ) -> Result<Box<dyn AudioDecoder>> {
        Ok(Box::new(Opus::new(parameters)?))
    }

    fn supported_codecs() -> &'static [SupportedAudioCodec] {
        CODECS
    }
}
