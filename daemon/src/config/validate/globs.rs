//! Include patterns: those that cannot be parsed, and those that can match nothing.

use std::path::Path;

use globset::{Glob, GlobBuilder};

use crate::config::inspect::Report;
use crate::config::{Config, UNFINISHED_ENDINGS};

/// A pattern with more alternatives is not checked: an operator does not write so many by mistake.
const MOST_ALTERNATIVES: usize = 1_000;

pub(super) fn globs(config: &Config, report: &mut Report<'_>) {
    for (path, source) in super::directories(config) {
        if source.include.is_empty() {
            report.mistake(
                &format!("{path}.include"),
                format!("include of source {:?} is empty, so nothing is", source.name),
            );
        }
        for (position, pattern) in source.include.iter().enumerate() {
            let wrong = match glob(pattern) {
                Err(error) => Some(format!("is not a glob: {}", error.kind())),
                Ok(_) => matches_nothing(pattern, &source.path, source.recursive),
            };
            if let Some(wrong) = wrong {
                let text = format!("include has {pattern:?}, which {wrong}");
                report.mistake(&format!("{path}.include.{position}"), text);
            }
        }
    }
}

/// Compiled as the source does: `*` stays within a folder.
fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

/// Why a pattern can match no file of a source, if none of its alternatives can.
fn matches_nothing(pattern: &str, folder: &Path, recursive: bool) -> Option<String> {
    if let Some(below) = folder.to_str().and_then(|folder| pattern.strip_prefix(folder))
        && let Some(below) = below.strip_prefix('/').filter(|below| !below.is_empty())
    {
        return Some(format!(
            "matches nothing: patterns are compared with the path below {}; write {below:?}",
            folder.display()
        ));
    }
    let alternatives = alternatives(pattern)?;
    let mut reasons = alternatives.iter().map(|pattern| is_dead(pattern, recursive));
    let first = reasons.next()??;
    reasons.all(|reason| reason.is_some()).then(|| format!("matches nothing: {first}"))
}

/// Why a pattern without braces matches no file, if it cannot.
fn is_dead(pattern: &str, recursive: bool) -> Option<&'static str> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let (last, folders) = parts.split_last()?;
    let is_hidden = |part: &&str| part.starts_with('.') || part.starts_with("\\.") || part.starts_with("[.]");
    let tail = last.rsplit(['*', '?', ']']).next().unwrap_or_default().to_lowercase();
    if pattern.starts_with('/') {
        Some("it is absolute, and patterns are compared with the path below `path`; write it as \"**/*.wav\"")
    } else if parts[0].starts_with('~') && !folders.is_empty() {
        Some(
            "~ stands for no home here, and patterns are compared with the path below `path`; write it as \"**/*.wav\"",
        )
    } else if last.is_empty() {
        Some("it names no file; write it as \"folder/**\" or \"*.wav\"")
    } else if parts.contains(&"") {
        Some("it has two / behind each other; write one")
    } else if parts.contains(&".") || parts.contains(&"..") {
        Some("paths below `path` have neither . nor .. in them; leave them out")
    } else if parts.iter().any(is_hidden) {
        Some("hidden files and folders are never read; write a pattern of other names")
    } else if !recursive && folders.iter().any(|folder| *folder != "**") {
        Some("it is of files in folders, and recursive = false looks into none; set recursive = true")
    } else if UNFINISHED_ENDINGS.iter().any(|ending| tail.ends_with(ending)) {
        Some("files with this ending count as unfinished and are ignored; write a pattern of finished files")
    } else {
        None
    }
}

/// The pattern without its braces, once for each combination of their alternatives; `None` where there are too many.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let Some((before, choices, after)) = first_braces(pattern) else { return Some(vec![pattern.to_owned()]) };
    let mut all = Vec::new();
    for choice in choices {
        all.extend(alternatives(&format!("{before}{choice}{after}"))?);
        if all.len() > MOST_ALTERNATIVES {
            return None;
        }
    }
    Some(all)
}

/// The text before the first pair of braces, its alternatives, and the text behind it.
fn first_braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (mut depth, mut open, mut begin) = (0_usize, 0, 0);
    let (mut is_escaped, mut in_class) = (false, false);
    let mut choices = Vec::new();
    for (at, letter) in pattern.char_indices() {
        match letter {
            _ if std::mem::take(&mut is_escaped) => {}
            '\\' => is_escaped = true,
            // A class ends at its first `]` that is not its first character; a class cannot be empty.
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '{' => {
                depth += 1;
                if depth == 1 {
                    (open, begin) = (at, at + 1);
                }
            }
            ',' if depth == 1 => {
                choices.push(&pattern[begin..at]);
                begin = at + 1;
            }
            '}' if depth == 1 => {
                choices.push(&pattern[begin..at]);
                return Some((&pattern[..open], choices, &pattern[at + 1..]));
            }
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_said_of(pattern: &str, recursive: bool) -> Option<String> {
        glob(pattern).unwrap();
        matches_nothing(pattern, Path::new("/srv/calls"), recursive)
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_told_from_one_that_can() {
        for (pattern, word) in [
            ("/srv/calls/**/*.wav", "write \"**/*.wav\""),
            ("/srv/other/*.wav", "absolute"),
            ("{/a,/b}/*.wav", "absolute"),
            ("~/calls/*.wav", "no home"),
            ("~agent/*.wav", "no home"),
            ("", "names no file"),
            ("done/", "names no file"),
            ("a//*.wav", "two /"),
            ("./*.wav", "neither . nor .."),
            ("../calls/*.wav", "neither . nor .."),
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
