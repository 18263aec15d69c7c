//! `[plugin.config]` of the plugin.

use hark_sdk::Error;
use schemars::JsonSchema;
use serde::Deserialize;

/// The plugin's config.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The files that are handed over.
    pub formats: Vec<Format>,
    /// Most characters in a line of a subtitle. A wide character (Chinese, Japanese, Korean) counts as two.
    #[schemars(range(min = 10, max = 200))]
    pub max_chars: u32,
    /// Most lines of a subtitle.
    #[schemars(range(min = 1, max = 5))]
    pub max_lines: u32,
    /// Most characters a second in a subtitle, as far as the speaker's rate allows. A wide character counts as two.
    #[schemars(range(min = 1, max = 100))]
    pub max_cps: u32,
    /// Whether names of roles and speakers stand before their words.
    pub speakers: bool,
}

/// A format of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// SubRip, `.srt`.
    Srt,
    /// WebVTT, `.vtt`.
    Vtt,
    /// Text, `.txt`: a line for each change of speaker.
    Txt,
    /// The transcript as JSON, `.transcript.json`.
    Json,
}

impl Default for Config {
    /// Figures that subtitles of films follow: 42 characters, two lines, 20 characters a second (the public style guides of Netflix for
    /// English).
    fn default() -> Self {
        Config {
            formats: vec![Format::Srt, Format::Txt],
            max_chars: 42,
            max_lines: 2,
            max_cps: 20,
            speakers: true,
        }
    }
}

impl Config {
    /// Reads `[plugin.config]` as the daemon passes it.
    ///
    /// # Errors
    /// The first mistake; the message begins with the key.
    pub fn parse(json: &str) -> Result<Config, Error> {
        let config: Config = hark_sdk::config::read(json)?;
        let within = |key: &str, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::new(format_args!("{key}: {value} is not possible; use {least} to {most}")))
        };
        within("max_chars", config.max_chars, 10, 200)?;
        within("max_lines", config.max_lines, 1, 5)?;
        within("max_cps", config.max_cps, 1, 100)?;
        if config.formats.is_empty() {
            return Err(Error::new("formats: is empty; name one of srt, vtt, txt, json"));
        }
        Ok(config)
    }
}
