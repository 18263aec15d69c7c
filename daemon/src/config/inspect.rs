//! Reads a file and an environment into a config, and collects every mistake.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::abilities::Warning;
use super::document::Document;
use super::effective::Effective;
use super::environment::{Setting, layer, settings};
use super::fit::fit;
use super::mistakes::{Mistake, Mistakes, Place};
use super::report::Report;
use super::{Config, DEFAULT_ROUTE, Plugin, Plugins, Route, validate};

/// A config and its mistakes. A key with a mistake has its default in `config`, so a config with mistakes serves only to look for further
/// mistakes.
#[derive(Debug)]
pub struct Inspection {
    pub config: Config,
    pub mistakes: Mistakes,
    /// False if the file cannot be read or is not TOML: then its settings, and what it lacks, are unknown.
    pub is_readable: bool,
    layers: Layers,
    /// Warnings by the place of the key: what the models of a route cannot do, and warnings of plugins.
    doubts: Vec<Mistake>,
    /// The place of each plugin's `library` key; `None` if that plugin has a mistake already.
    libraries: Vec<Option<Place>>,
}

/// What the operator wrote: the text of the file, and the environment. Later warnings look up the places of their keys in it.
struct Layers {
    text: String,
    settings: Vec<Setting>,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} variables", self.text.len(), self.settings.len())
    }
}

impl Inspection {
    /// The config, if it has no mistakes.
    ///
    /// # Errors
    /// All mistakes.
    pub fn into_result(self) -> Result<Config, Mistakes> {
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(self.mistakes) }
    }

    /// Every value with the layer that it comes from.
    ///
    /// # Errors
    /// All mistakes: a value that was refused is at its default, which the daemon would not run with.
    pub fn effective(self) -> Result<Effective, Mistakes> {
        let Layers { text, settings } = &self.layers;
        let effective = Effective::new(&self.mistakes.file, &self.config, &Document::parse(text), settings);
        self.into_result().map(|_| effective)
    }

    /// What is not a mistake but may be unintended, one sentence each; with its place where it is about a key of the file.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings_of_environment();
        let placed = Mistakes { file: self.mistakes.file.clone(), mistakes: self.doubts.clone() };
        warnings.extend(placed.lines().map(|(place, text)| format!("{place}: {text}")));
        warnings
    }

    /// Tries to load each plugin that has no mistake so far. An error of `load` becomes a mistake; the texts that `load` returns become
    /// warnings. If a text begins with a key of `[plugin.config]` (`rules.2.regex.0: …`), its place is the line of that key, else that of
    /// `library`.
    pub fn try_plugins(
        &mut self,
        mut load: impl FnMut(&Plugin, &Plugins) -> Result<Vec<String>, Vec<String>>,
    ) {
        let document = Document::parse(&self.layers.text);
        for (index, (plugin, library)) in self.config.plugin.iter().zip(&self.libraries).enumerate() {
            let Some(library) = library else { continue };
            let place = |message: &str| match key_at_fault(message) {
                Some(key) => document.find_inside(&format!("plugin.{index}.config"), key),
                None => None,
            };
            match load(plugin, &self.config.plugins) {
                Ok(warnings) => self.doubts.extend(warnings.into_iter().map(|warning| {
                    let text = format!("plugin {:?} warns: {warning}", plugin.name);
                    Mistake { place: place(&warning).unwrap_or_else(|| library.clone()), text }
                })),
                Err(reasons) => self.mistakes.mistakes.extend(reasons.into_iter().map(|reason| {
                    let place = place(&reason).unwrap_or_else(|| library.clone());
                    Mistake { place, text: format!("plugin {:?} does not load: {reason}", plugin.name) }
                })),
            }
        }
        self.mistakes.sort();
    }
}

/// The key of `[plugin.config]` that the message of a plugin begins with; the daemon may have put its own words before that.
fn key_at_fault(message: &str) -> Option<&str> {
    let words = message.rsplit_once(REFUSED).map_or(message, |(_, words)| words);
    let (key, _) = words.split_once(": ")?;
    let is_key = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    key.split('.').all(is_key).then_some(key)
}

/// What the daemon puts before the reason of a plugin that refuses its config.
pub const REFUSED: &str = "create refused: ";

/// Reads the file and this process's environment over the defaults.
pub fn inspect(path: &Path) -> Inspection {
    let read = std::fs::read_to_string(path);
    let document = match &read {
        Ok(text) => Document::parse(text),
        Err(error) => {
            let text = format!(
                "the configuration file cannot be read: {error}; write one that the daemon's user may read (config/harkd.toml of the \
                 distribution shows every key; an empty file means all defaults) or name another with --config"
            );
            Document::unreadable(Mistake { place: Place::File, text })
        }
    };
    let text = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    let read = read.as_deref().unwrap_or_default();
    inspect_document(&path.display().to_string(), read, &document, &variables)
}

/// The same for a given text and given variables; mistakes call the file `name`.
pub fn inspect_text(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Inspection {
    inspect_document(name, text, &Document::parse(text), variables)
}

fn inspect_document(
    name: &str,
    text: &str,
    document: &Document<'_>,
    variables: &BTreeMap<String, String>,
) -> Inspection {
    let (settings, of_variables) = settings(variables);
    let mut report = Report::new(name, document, &settings);
    let mut config = fit(document.dict(), layer(&settings), &mut report);
    let is_readable = document.broken.is_none();
    if is_readable {
        validate::validate(&config, &mut report);
    }
    if config.route(DEFAULT_ROUTE).is_none() {
        config.route.push(Route::named(DEFAULT_ROUTE));
    }
    let libraries =
        (0..config.plugin.len()).map(|index| report.sound(&format!("plugin.{index}"), "library")).collect();
    let abilities = config.abilities().into_iter();
    let doubts =
        abilities.map(|Warning { path, text }| Mistake { place: report.place(&path, false), text }).collect();
    let mistakes = report.finish(of_variables);
    let layers = Layers { text: text.to_owned(), settings };
    Inspection { config, mistakes, is_readable, layers, doubts, libraries }
}
