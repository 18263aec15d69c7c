//! All mistakes of a config, for people and for machines.

use std::fmt;

use serde::Serialize;

use crate::counted::counted;

/// The place of a mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The file as a whole: it cannot be read, or lacks something.
    File,
    /// Both count from 1; columns are characters.
    Line { line: usize, column: usize },
    /// An environment variable.
    Variable(String),
}

/// One mistake: a sentence that names the key or value and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub place: Place,
    pub text: String,
}

/// Every mistake of one config, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    /// The path as the operator wrote it.
    pub file: String,
    pub mistakes: Vec<Mistake>,
}

impl Mistakes {
    /// Adds a mistake that concerns no line, such as a missing key or a plugin that does not load.
    pub fn add(&mut self, text: impl Into<String>) {
        self.mistakes.push(Mistake { place: Place::File, text: text.into() });
    }

    /// Sorts by place in the file; a mistake without a line comes first.
    pub(super) fn sort(&mut self) {
        self.mistakes.sort_by(|a, b| a.place.cmp(&b.place));
    }

    /// True if there is nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The number of mistakes as a phrase.
    pub fn count(&self) -> String {
        format!("{} in the configuration", counted(self.mistakes.len(), "mistake"))
    }

    /// One line for each, as compilers print them: `harkd.toml:12:3: …`.
    pub fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        self.mistakes.iter().map(|mistake| {
            let place = match &mistake.place {
                Place::File => self.file.clone(),
                Place::Line { line, column } => format!("{}:{line}:{column}", self.file),
                Place::Variable(name) => format!("environment variable {name}"),
            };
            (place, mistake.text.as_str())
        })
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.count())?;
        for (place, text) in self.lines() {
            write!(f, "\n{place}: {text}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
