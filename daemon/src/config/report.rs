//! Collects the mistakes of a config by the key that they are about.

use super::document::Document;
use super::environment::Setting;
use super::mistakes::{Mistake, Mistakes, Place};

pub(super) struct Report<'d> {
    document: &'d Document<'d>,
    settings: &'d [Setting],
    /// The keys that have a mistake.
    paths: Vec<String>,
    mistakes: Mistakes,
}

impl<'d> Report<'d> {
    pub(super) fn new(name: &str, document: &'d Document<'d>, settings: &'d [Setting]) -> Self {
        let mut mistakes = Mistakes { file: name.to_owned(), mistakes: Vec::new() };
        mistakes.mistakes.extend(document.broken.clone());
        Report { document, settings, paths: Vec::new(), mistakes }
    }

    /// Adds a mistake about the value of a key, whose path is one like `source.0.path`.
    pub(super) fn mistake(&mut self, path: &str, text: impl Into<String>) {
        self.refuse(path, false, text);
    }

    /// Adds a mistake about a key itself, or about its value. Only the first mistake about a key is kept, because further ones follow from it.
    pub(super) fn refuse(&mut self, path: &str, is_key: bool, text: impl Into<String>) {
        if self.paths.iter().any(|other| other == path) {
            return;
        }
        let place = self.place(path, is_key);
        self.paths.push(path.to_owned());
        self.mistakes.mistakes.push(Mistake { place, text: text.into() });
    }

    /// The place of a key itself, or of its value: in the file, or the variable that sets it.
    pub(super) fn place(&self, path: &str, is_key: bool) -> Place {
        // A variable that sets a list is also the origin of the list's elements.
        let sets = |setting: &&Setting| {
            let rest = path.strip_prefix(&format!("{}.{}", setting.table, setting.key));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match self.settings.iter().find(sets) {
            Some(setting) => Place::Variable(setting.variable.clone()),
            None => self.document.find(path, is_key),
        }
    }

    /// The place of an element's key, if the element has no mistake.
    pub(super) fn sound(&self, element: &str, key: &str) -> Option<Place> {
        let within = format!("{element}.");
        let is_spoilt = self.paths.iter().any(|path| path.starts_with(&within));
        (!is_spoilt).then(|| self.document.find(&format!("{within}{key}"), false))
    }

    /// All mistakes: of keys, and of variables that set no key.
    pub(super) fn finish(mut self, of_variables: Vec<Mistake>) -> Mistakes {
        self.mistakes.mistakes.extend(of_variables);
        self.mistakes.sort();
        self.mistakes
    }
}
