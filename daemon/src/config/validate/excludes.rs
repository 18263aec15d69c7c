//! Exclude patterns: those that cannot be parsed, and those that can match nothing.

use globset::GlobBuilder;

use crate::config::Config;
use crate::config::inspect::Report;

pub(super) fn excludes(config: &Config, report: &mut Report<'_>) {
    for (path, source) in super::directories(config) {
        for (position, pattern) in source.exclude.iter().enumerate() {
            let wrong = match GlobBuilder::new(pattern).literal_separator(true).build() {
                Err(error) => Some(format!("is not a glob: {}", error.kind())),
                Ok(_) if pattern.starts_with('/') || pattern.starts_with("~/") => Some(
                    "matches nothing: patterns are compared with the path below `path`; write it as \"folder\" or \"**/*-draft.wav\""
                        .to_owned(),
                ),
                Ok(_) => None,
            };
            if let Some(wrong) = wrong {
                let text = format!("exclude has {pattern:?}, which {wrong}");
                report.mistake(&format!("{path}.exclude.{position}"), text);
            }
        }
    }
}
