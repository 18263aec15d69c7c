//! Hands over the transcript as files: subtitles (SubRip, WebVTT), text, JSON. The daemon writes them beside the recording.
//!
//! docs/plugins/subtitles.md is the manual.
#![warn(missing_docs)]

mod clock;
mod config;
mod cues;
mod formats;
mod layout;
mod spans;
mod speaker;
mod text;
mod transcript;

use hark_sdk::schemars::Schema;
use hark_sdk::{Error, Host, Plugin, Transcript, schema};
use serde_json::json;

pub use config::{Config, Format};
pub use cues::{Cue, Cues};
use text::Cutter;

/// The plugin.
pub struct Subtitles {
    config: Config,
    cutter: Cutter,
}

impl Plugin for Subtitles {
    fn schema() -> Schema {
        schema::of_config::<Config>()
    }

    fn create(config: &str) -> Result<Self, Error> {
        Ok(Subtitles { config: Config::parse(config)?, cutter: Cutter::new() })
    }

    fn on_final(&mut self, transcript: &Transcript, host: &Host) -> Result<(), Error> {
        let wants_cues = self.config.formats.iter().any(|format| matches!(format, Format::Srt | Format::Vtt));
        let Cues { cues, untimed } = if wants_cues { self.cues(transcript) } else { Cues::default() };
        // A subtitle without its time would be shown at a wrong one. Of a speechless recording there is an empty file: it was heard.
        let has_subtitles = !cues.is_empty() || untimed == 0;
        let mut left_out = Vec::new();
        for format in &self.config.formats {
            match format {
                Format::Srt if has_subtitles => {
                    host.file(".srt", formats::srt(&cues, self.config.max_chars).as_bytes())?
                }
                Format::Vtt if has_subtitles => host.file(".vtt", formats::vtt(&cues).as_bytes())?,
                Format::Srt => left_out.push("srt"),
                Format::Vtt => left_out.push("vtt"),
                Format::Txt => {
                    host.file(".txt", transcript::txt(transcript, self.config.speakers).as_bytes())?
                }
                Format::Json => host.file(".transcript.json", transcript::json(transcript)?.as_bytes())?,
            }
        }
        if untimed > 0 {
            host.emit(&json!({ "segments_without_times": untimed, "left_out": left_out }))?;
        }
        Ok(())
    }
}

impl Subtitles {
    /// The cues of a transcript.
    pub fn cues(&self, transcript: &Transcript) -> Cues {
        match transcript.segments.as_deref() {
            // A text of which nothing else is known counts as one segment without a time.
            None | Some([]) => {
                Cues { untimed: usize::from(!transcript.text.trim().is_empty()), ..Cues::default() }
            }
            Some(segments) => {
                let length_ms = transcript.event.recording.duration_ms;
                Cues::new(&self.cutter, segments, length_ms, &self.config)
            }
        }
    }
}

hark_sdk::export!(Subtitles);
