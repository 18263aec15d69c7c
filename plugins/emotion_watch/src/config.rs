//! `[plugin.config]` of the plugin.

use hark_sdk::Error;
use hark_sdk::event::Segment;
use schemars::JsonSchema;
use serde::Deserialize;

/// The emotions that the service names (the protocol's reference); another recognizer may have others.
const KNOWN: [&str; 7] = ["surprised", "neutral", "happy", "sad", "disgusted", "angry", "fearful"];

/// The plugin's config.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Roles of the channels that are watched; empty: everyone, with a role or without.
    pub roles: Vec<String>,
    /// The emotions that count as negative.
    pub negative: Vec<String>,
    /// So many negative segments of a speaker in a row raise the alert `streak`; 0: none does.
    pub streak: u32,
    /// The alert `rise` is raised if the share of a speaker's negative speech is greater by so much in the last third of the call than in the
    /// first; 0: it is not.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rise: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            roles: Vec::new(),
            negative: ["angry", "sad", "disgusted", "fearful"].map(str::to_owned).to_vec(),
            streak: 3,
            rise: 0.3,
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
        if !(0.0..=1.0).contains(&config.rise) {
            return Err(Error::new(format_args!(
                "rise: {} is not possible; it is a share, 0 to 1",
                config.rise
            )));
        }
        if config.negative.is_empty() {
            return Err(Error::new("negative: is empty; name the emotions that count, such as \"angry\""));
        }
        if config.streak == 0 && config.rise == 0.0 {
            return Err(Error::new("streak: is 0 and so is rise; there is nothing to watch for"));
        }
        Ok(config)
    }

    /// What can hardly be meant.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let unknown =
            self.negative.iter().enumerate().filter(|(_, emotion)| !KNOWN.contains(&emotion.as_str()));
        let warning = |(index, emotion): (usize, &String)| {
            format!(
                "negative.{index}: {emotion:?} is none of the emotions that the service names: {}",
                KNOWN.join(", ")
            )
        };
        unknown.map(warning).collect()
    }

    /// Whether a segment is of a role that is watched.
    pub(crate) fn watches(&self, segment: &Segment) -> bool {
        self.roles.is_empty() || segment.role.as_ref().is_some_and(|role| self.roles.contains(role))
    }

    /// Whether a segment is negative; `None`: its emotion is not known.
    pub(crate) fn is_negative(&self, segment: &Segment) -> Option<bool> {
        segment.emotion.as_ref().map(|emotion| self.negative.contains(emotion))
    }
}
