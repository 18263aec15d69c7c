//! Which decoder a track needs.

use std::sync::OnceLock;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_OPUS, CODEC_ID_PCM_ALAW, CODEC_ID_PCM_MULAW};
use symphonia::core::codecs::audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error;
use symphonia::core::formats::FormatReader;

use super::ProbeError;
use super::containers::{explain, sound_track};
use super::opus::Opus;
use super::resample::RATE;

/// A decoder for the audio track that the reader has now; `corrected`: its codec where the reader names another one.
///
/// # Errors
/// [`ProbeError::Undecodable`] for codecs that are not decoded here.
pub(super) fn codec(
    reader: &dyn FormatReader,
    corrected: Option<AudioCodecId>,
) -> Result<Box<dyn AudioDecoder>, ProbeError> {
    let unknown = || undecodable(Error::Unsupported("its codec is not known"));
    let parameters = sound_track(reader).and_then(|track| track.codec_params.as_ref()).ok_or_else(unknown)?;
    let CodecParameters::Audio(parameters) = parameters else { return Err(unknown()) };
    let mut parameters = parameters.clone();
    parameters.codec = corrected.unwrap_or(parameters.codec);
    if parameters.codec == CODEC_ID_OPUS {
        parameters.sample_rate = Some(RATE);
        // The samples to skip, which are skipped by time.
        parameters.extra_data = None;
    }
    if matches!(parameters.codec, CODEC_ID_PCM_ALAW | CODEC_ID_PCM_MULAW) {
        // Some containers state the bits of the coded sample, and the decoder expects the bits of the decoded one.
        (parameters.bits_per_sample, parameters.bits_per_coded_sample) = (None, None);
    }
    codecs().make_audio_decoder(&parameters, &AudioDecoderOptions::default()).map_err(undecodable)
}

fn codecs() -> &'static CodecRegistry {
    static CODECS: OnceLock<CodecRegistry> = OnceLock::new();
    CODECS.get_or_init(|| {
        let mut codecs = CodecRegistry::new();
        symphonia::default::register_enabled_codecs(&mut codecs);
        codecs.register_audio_decoder::<Opus>();
        codecs
    })
}

/// A reader's or decoder's error, where the format is known.
pub(super) fn undecodable(error: Error) -> ProbeError {
    match error {
        Error::Unsupported(what) | Error::DecodeError(what) => ProbeError::Undecodable(what.into()),
        error => explain(error),
    }
}
