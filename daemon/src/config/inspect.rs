//! Reads a file and an environment into a config, and collects every mistake.

use std::collections::BTreeMap;
use std::path::Path;

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use toml::de::{DeArray, DeTable, DeValue};

use super::document::{Document, to_dict, to_value};
use super::environment::{self, Setting};
use super::mistakes::{Mistake, Mistakes, Place};
use super::nearest::suggestion;
use super::schema::{KeyTrial, Schema, TAG};
use super::{Config, DEFAULT_ROUTE, EMBEDDED, Plugin, Plugins, Route, validate};

/// A config and its mistakes. A key with a mistake is at its default in `config`; so unless there are no mistakes, `config` serves only to
/// look for further ones.
#[derive(Debug)]
pub struct Inspection {
    pub config: Config,
    pub mistakes: Mistakes,
    /// False if the file cannot be read or is not TOML: then its settings, and what it lacks, are unknown.
    pub is_readable: bool,
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

    /// Tries each plugin that has no mistake so far; an error of `load` becomes a mistake at the line of its library.
    pub fn try_plugins(&mut self, load: impl Fn(&Plugin, &Plugins) -> Result<(), String>) {
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
    let name = path.display().to_string();
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    match std::fs::read_to_string(path) {
        Ok(text) => inspect_text(&name, &text, &variables),
        Err(error) => {
            let what_to_do = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "write one (config/harkd.toml of the distribution shows every key; an empty file means all defaults) \
                     or name another with --config"
                }
                std::io::ErrorKind::PermissionDenied => "let the daemon's user read it",
                std::io::ErrorKind::InvalidData => "save it as UTF-8",
                _ => "name another with --config",
            };
            let text = format!("the configuration file cannot be read: {error}; {what_to_do}");
            unreadable(&name, Mistake { place: Place::File, text }, &variables)
        }
    }
}

/// The same for a given text and given variables; mistakes call the file `name`.
pub fn inspect_text(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Inspection {
    let schema = Schema::new();
    let document = Document::parse(text);
    if let Some(broken) = document.broken {
        return unreadable(name, broken, variables);
    }
    let mut report = Report::new(name, &document);
    let file = accepted(&schema, &document, &mut report);
    let settings = settings(&schema, variables, &mut report);
    let layers = Figment::from(Serialized::defaults(Document::parse(EMBEDDED).dict()))
        .merge(Serialized::defaults(file))
        .merge(Serialized::defaults(environment::layer(&settings)));
    let mut config = layers.extract::<Config>().unwrap_or_else(|error| {
        report.mistakes.add(error.to_string());
        Config::default()
    });
    report.overrides = settings;
    validate::validate(&config, &mut report);
    if config.route(DEFAULT_ROUTE).is_none() {
        config.route.push(Route::named(DEFAULT_ROUTE));
    }
    let libraries =
        (0..config.plugin.len()).map(|index| report.sound(&format!("plugin.{index}"), "library")).collect();
    Inspection { config, mistakes: report.finish(), is_readable: true, libraries }
}

/// The result for a file without usable content: its mistake, and the mistakes of the variables, which do not depend on the file.
fn unreadable(name: &str, mistake: Mistake, variables: &BTreeMap<String, String>) -> Inspection {
    let document = Document::parse("");
    let mut report = Report::new(name, &document);
    report.mistakes.mistakes.push(mistake);
    settings(&Schema::new(), variables, &mut report);
    Inspection {
        config: Config::default(),
        mistakes: report.finish(),
        is_readable: false,
        libraries: Vec::new(),
    }
}

/// Collects mistakes by the path of the key, such as `source.0.path`.
pub(super) struct Report<'d> {
    document: &'d Document<'d>,
    overrides: Vec<Setting>,
    paths: Vec<String>,
    mistakes: Mistakes,
}

impl<'d> Report<'d> {
    fn new(name: &str, document: &'d Document<'d>) -> Self {
        Report { document, overrides: Vec::new(), paths: Vec::new(), mistakes: Mistakes::new(name) }
    }

    /// Adds a mistake about a key. Only the first mistake about a key is kept, because further ones follow from it.
    pub(super) fn mistake(&mut self, path: &str, text: impl Into<String>) {
        // A variable that sets a list is also the origin of the list's elements.
        let key = |setting: &&Setting| {
            let rest = path.strip_prefix(&format!("{}.{}", setting.table, setting.key));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let place = match self.overrides.iter().find(key) {
            Some(setting) => Place::Variable(setting.variable.clone()),
            None => self.document.find(path),
        };
        self.mistake_at(place, path, text);
    }

    fn mistake_at(&mut self, place: Place, path: &str, text: impl Into<String>) {
        if !self.paths.iter().any(|other| other == path) {
            self.paths.push(path.to_owned());
            self.mistakes.mistakes.push(Mistake { place, text: text.into() });
        }
    }

    /// The place of an element's key, if the element has no mistake.
    fn sound(&self, element: &str, key: &str) -> Option<Place> {
        let within = format!("{element}.");
        let spoilt = self.paths.iter().any(|path| path.starts_with(&within));
        (!spoilt).then(|| self.document.find(&format!("{within}{key}")))
    }

    fn finish(mut self) -> Mistakes {
        self.mistakes.sort();
        self.mistakes
    }
}

/// The part of the file that the types accept; the rest is reported.
fn accepted(schema: &Schema, document: &Document<'_>, report: &mut Report<'_>) -> Dict {
    let mut good = Dict::new();
    for (name, value) in &document.root {
        let table_name: &str = name.get_ref();
        let place = document.place(name.span().start);
        match value.get_ref() {
            DeValue::Table(table) if schema.is_table(table_name) => {
                good.insert(
                    table_name.to_owned(),
                    Value::from(accepted_table(schema, table_name, table, report)),
                );
            }
            DeValue::Array(array) if schema.is_array(table_name) => {
                if let Some(elements) = accepted_array(schema, table_name, array, report) {
                    good.insert(table_name.to_owned(), Value::from(elements));
                }
            }
            _ if schema.is_table(table_name) => {
                report.mistake_at(
                    place,
                    table_name,
                    format!("{table_name:?} is a table; write [{table_name}]"),
                );
            }
            value if schema.is_array(table_name) => {
                let text = format!("there may be several of {table_name:?}; write [[{table_name}]]");
                report.mistake_at(place.clone(), table_name, text);
                // An element that lacks a pair of brackets is still checked, because it may have mistakes of its own.
                if let DeValue::Table(table) = value {
                    let path = format!("{table_name}.0");
                    let element = accepted_element(schema, table_name, &path, &place, table, report);
                    good.insert(table_name.to_owned(), Value::from(vec![Value::from(element)]));
                }
            }
            DeValue::Table(_) | DeValue::Array(_) => {
                let hint = suggestion(table_name, &schema.tables());
                report.mistake_at(place, table_name, format!("unknown table [{table_name}]{hint}"));
            }
            _ => {
                let text = match schema.keys().find(|(_, key)| *key == table_name) {
                    Some((table, _)) => {
                        format!("key {table_name:?} stands above every table; it belongs into [{table}]")
                    }
                    None => format!(
                        "unknown key {table_name:?} above every table{}",
                        suggestion(table_name, &schema.tables())
                    ),
                };
                report.mistake_at(place, table_name, text);
            }
        }
    }
    good
}

fn accepted_table(schema: &Schema, name: &str, table: &DeTable<'_>, report: &mut Report<'_>) -> Dict {
    let mut good = Dict::new();
    for (key, value) in table {
        let key_name: &str = key.get_ref();
        let tried = to_value(value.get_ref());
        match schema.accepts(name, key_name, tried.clone()) {
            Ok(()) => {
                good.insert(key_name.to_owned(), tried);
            }
            Err(text) => {
                let known = schema.default_of(name, key_name).is_some();
                let span = if known { value.span() } else { key.span() };
                let place = report.document.place(span.start);
                report.mistake_at(place, &format!("{name}.{key_name}"), text);
            }
        }
    }
    good
}

fn accepted_array(
    schema: &Schema,
    name: &str,
    array: &DeArray<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Value>> {
    let mut elements = Vec::new();
    for (index, element) in array.iter().enumerate() {
        let DeValue::Table(table) = element.get_ref() else {
            let place = report.document.place(element.span().start);
            report.mistake_at(place, name, format!("each {name:?} is a table; write [[{name}]]"));
            return None;
        };
        let header = report.document.place(element.span().start);
        let path = format!("{name}.{index}");
        elements.push(Value::from(accepted_element(schema, name, &path, &header, table, report)));
    }
    Some(elements)
}

/// An element with a mistake keeps its place, so that references to it are not reported as well.
fn accepted_element(
    schema: &Schema,
    name: &str,
    path: &str,
    header: &Place,
    table: &DeTable<'_>,
    report: &mut Report<'_>,
) -> Dict {
    let demand = schema.element(name, &to_dict(table));
    let tagged = demand.smallest.contains_key(TAG);
    if let Some(text) = demand.tag_mistake {
        let place = table.get(TAG).map(|tag| report.document.place(tag.span().start));
        report.mistake_at(place.unwrap_or_else(|| header.clone()), &format!("{path}.{TAG}"), text);
    }
    let mut good = demand.smallest.clone();
    for (key, value) in table.iter().filter(|(key, _)| !(tagged && key.get_ref() == TAG)) {
        let key_name: &str = key.get_ref();
        let tried = to_value(value.get_ref());
        let (span, text) = match schema.accepts_in(name, &demand.smallest, key_name, tried.clone()) {
            KeyTrial::Accepted => {
                good.insert(key_name.to_owned(), tried);
                continue;
            }
            KeyTrial::Unknown(text) => (key.span(), text),
            KeyTrial::Refused(text) => (value.span(), text),
        };
        let place = report.document.place(span.start);
        report.mistake_at(place, &format!("{path}.{key_name}"), text);
    }
    for missing in demand.smallest.keys().filter(|key| *key != TAG && !table.contains_key(key.as_str())) {
        let text = format!("[[{name}]] lacks {missing:?}");
        report.mistake_at(header.clone(), &format!("{path}.{missing}"), text);
    }
    good
}

fn settings(schema: &Schema, variables: &BTreeMap<String, String>, report: &mut Report<'_>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (variable, text) in variables {
        match environment::setting(schema, variable, text) {
            None => {}
            Some(Ok(setting)) => settings.push(setting),
            Some(Err(text)) => report.mistake_at(Place::Variable(variable.clone()), variable, text),
        }
    }
    settings
}
