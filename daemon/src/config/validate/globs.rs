//! Patterns of files and of their names: finds patterns that cannot be parsed, and patterns that match no name.

use std::path::Path;

use globset::GlobBuilder;

use crate::config::report::Report;
use crate::config::{Config, NamePattern, UNFINISHED_ENDINGS};

/// A pattern with more alternatives is not checked: an operator does not write so many by mistake.
const MOST_ALTERNATIVES: usize = 1_000;

pub(super) fn globs(config: &Config, report: &mut Report<'_>) {
    for (path, source) in super::directories(config) {
        if let Err(text) = NamePattern::parse(&source.metadata_from_name) {
            report.mistake(&format!("{path}.metadata_from_name"), text);
        }
        if source.include.is_empty() {
            report.mistake(
                &format!("{path}.include"),
                format!("include of source {:?} is empty, so nothing is", source.name),
            );
        }
        let mut judge = |key: &str, position: usize, pattern: &str, dead: Option<String>| {
            // Compiled as the source does: `*` stays within a folder.
            let wrong = match GlobBuilder::new(pattern).literal_separator(true).build() {
                Err(error) => Some(format!("is not a glob: {}", error.kind())),
                Ok(_) => dead.map(|reason| format!("matches nothing: {reason}")),
            };
            if let Some(wrong) = wrong {
                report.mistake(
                    &format!("{path}.{key}.{position}"),
                    format!("{key} has {pattern:?}, which {wrong}"),
                );
            }
        };
        for (position, pattern) in source.include.iter().enumerate() {
            judge("include", position, pattern, matches_nothing(pattern, &source.path, source.recursive));
        }
        for (position, pattern) in source.exclude.iter().enumerate() {
            let dead =
                starts_elsewhere(pattern).or_else(|| has_no_path(pattern).filter(|_| !pattern.contains('{')));
            judge("exclude", position, pattern, dead.map(str::to_owned));
        }
    }
}

/// Why a pattern can match no file of a source, if none of its alternatives can.
fn matches_nothing(pattern: &str, folder: &Path, recursive: bool) -> Option<String> {
    let below = folder.to_str().and_then(|folder| pattern.strip_prefix(folder)?.strip_prefix('/'));
    if let Some(below) = below.filter(|below| !below.is_empty()) {
        let folder = folder.display();
        return Some(format!("patterns are compared with the path below {folder}; write {below:?}"));
    }
    let alternatives = alternatives(pattern)?;
    let mut reasons = alternatives.iter().map(|pattern| is_dead(pattern, recursive));
    let first = reasons.next()??;
    reasons.all(|reason| reason.is_some()).then(|| first.to_owned())
}

/// Why a pattern without braces matches no file; `None`: it may match one.
fn is_dead(pattern: &str, recursive: bool) -> Option<&'static str> {
    let (folders, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let mut parts = pattern.split('/');
    if starts_elsewhere(pattern).is_some() {
        starts_elsewhere(pattern)
    } else if has_no_path(pattern).is_some() {
        has_no_path(pattern)
    } else if parts.any(|part| part.starts_with('.')) {
        Some("hidden files and folders are never read; write a pattern of other names")
    } else if !recursive && !matches!(folders, "" | "**") {
        Some("it is of files in folders, and recursive = false looks into none; set recursive = true")
    } else if UNFINISHED_ENDINGS.iter().any(|ending| name.to_lowercase().ends_with(ending)) {
        Some("files with this ending count as unfinished and are ignored; write a pattern of finished files")
    } else {
        None
    }
}

/// Why a pattern matches nothing below the source's folder, if it begins like the path of another one.
fn starts_elsewhere(pattern: &str) -> Option<&'static str> {
    let is_path = pattern.starts_with('/') || (pattern.starts_with('~') && pattern.contains('/'));
    is_path.then_some(
        "patterns are compared with the path below `path`; write it as \"**/*.wav\" or \"folder/**\"",
    )
}

/// Why no path can match a pattern without braces, if no path can.
fn has_no_path(pattern: &str) -> Option<&'static str> {
    let is_odd = pattern.split('/').any(|part| matches!(part, "" | "." | ".."));
    is_odd.then_some(
        "it has an empty part, . or .., and no path of a file has; write it as \"folder/*.wav\", or \"folder\" for all in it",
    )
}

/// The pattern without its braces, once for each combination of their alternatives; `None` where there are too many.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    // The first closing brace belongs to a pair without others in it.
    let pair = pattern.split_once('}').and_then(|(front, after)| Some((front.rsplit_once('{')?, after)));
    let Some(((before, choices), after)) = pair else { return Some(vec![pattern.to_owned()]) };
    let mut all = Vec::new();
    for choice in choices.split(',') {
        all.extend(alternatives(&format!("{before}{choice}{after}"))?);
        if all.len() > MOST_ALTERNATIVES {
            return None;
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_said_of(pattern: &str, recursive: bool) -> Option<String> {
        matches_nothing(pattern, Path::new("/srv/calls"), recursive)
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_told_from_one_that_can() {
        for (pattern, word) in [
            ("/srv/calls/**/*.wav", "write \"**/*.wav\""),
            ("/srv/other/*.wav", "below `path`"),
            ("{/a,/b}/*.wav", "below `path`"),
            ("~/calls/*.wav", "below `path`"),
            ("~agent/*.wav", "below `path`"),
            ("", "empty part"),
            ("done/", "empty part"),
            ("a//*.wav", "empty part"),
            ("./*.wav", ". or .."),
            ("../calls/*.wav", ". or .."),
            (".wav", "hidden"),
            (".cache/*.wav", "hidden"),
            ("**/.{wav,mp3}", "hidden"),
            ("*.part", "unfinished"),
            ("**/*.{tmp,TMP}", "unfinished"),
            ("*~", "unfinished"),
        ] {
            let said = is_said_of(pattern, true).unwrap_or_default();
            assert!(said.contains(word), "{pattern}: {said:?}");
        }
        for pattern in [
            "**/*.{wav,mp3,m4a,flac,ogg,opus}",
            "*",
            "**",
            "calls/**",
            "~odd.wav",
            "a{b,{c,d}}/[!{]*.wav",
            "*.{part,wav}",
            "{/absolute,calls}/*.wav",
            "call.?",
            r"\{x\}.wav",
        ] {
            assert_eq!(is_said_of(pattern, true), None, "{pattern}");
        }
        assert!(is_said_of("sub/*.wav", false).unwrap().contains("recursive = true"));
        assert!(is_said_of("**/sub/*.wav", false).unwrap().contains("recursive = true"));
        assert_eq!(is_said_of("**/*.wav", false), None);
    }
}
