//! Reads a file and an environment into a config, and collects every mistake.

use std::collections::BTreeMap;
use std::path::Path;

use super::abilities::Warning;
use super::document::Document;
use super::environment::{layer, settings};
use super::fit::fit;
use super::mistakes::{Mistake, Mistakes, Place};
use super::report::Report;
use super::{Config, DEFAULT_ROUTE, Plugin, Plugins, Route, validate};

/// A config and its mistakes. A key with a mistake is at its default in `config`; so unless there are no mistakes, `config` serves only to
/// look for further ones.
#[derive(Debug)]
pub struct Inspection {
    pub config: Config,
    pub mistakes: Mistakes,
    /// False if the file cannot be read or is not TOML: then its settings, and what it lacks, are unknown.
    pub is_readable: bool,
    /// What its models cannot do, by the place of the key.
    abilities: Vec<Mistake>,
    /// The place of each plugin's `library` key; `None` if that plugin has a mistake already.
    libraries: Vec<Option<Place>>,
}

impl Inspection {
    /// The config, if it has no mistakes.
    ///
    /// # Errors
    /// All mistakes.
    pub fn into_result(self) -> Result<Config, Mistakes> {
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(self.mistakes) }
    }

    /// What is not a mistake but may be unintended, one sentence each; with its place where it is about a key of the file.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings_of_surroundings();
        let placed = Mistakes { file: self.mistakes.file.clone(), mistakes: self.abilities.clone() };
        warnings.extend(placed.lines().map(|(place, text)| format!("{place}: {text}")));
        warnings
    }

    /// Tries each plugin that has no mistake so far; an error of `load` becomes a mistake at the line of its library.
    pub fn try_plugins(&mut self, mut load: impl FnMut(&Plugin, &Plugins) -> Result<(), String>) {
        for (plugin, place) in self.config.plugin.iter().zip(&self.libraries) {
            let Some(place) = place else { continue };
            if let Err(reason) = load(plugin, &self.config.plugins) {
                let text = format!("plugin {:?} does not load: {reason}", plugin.name);
                self.mistakes.mistakes.push(Mistake { place: place.clone(), text });
            }
        }
        self.mistakes.sort();
    }
}

/// Reads the file and this process's environment over the defaults.
pub fn inspect(path: &Path) -> Inspection {
    let text = std::fs::read_to_string(path);
    let document = match &text {
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
    inspect_document(&path.display().to_string(), &document, &variables)
}

/// The same for a given text and given variables; mistakes call the file `name`.
pub fn inspect_text(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Inspection {
    inspect_document(name, &Document::parse(text), variables)
}

fn inspect_document(name: &str, document: &Document<'_>, variables: &BTreeMap<String, String>) -> Inspection {
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
    let abilities =
        abilities.map(|Warning { path, text }| Mistake { place: report.place(&path, false), text }).collect();
    Inspection { config, mistakes: report.finish(of_variables), is_readable, abilities, libraries }
}
