//! Folders: no recording may be found twice, and no file that the daemon writes may be taken for a recording.

use std::path::{Component, Path, PathBuf};

use crate::config::inspect::Report;
use crate::config::{Config, DirectorySource, WhenDone};

pub(super) fn folders(config: &Config, report: &mut Report<'_>) {
    let watched: Vec<_> = super::directories(config)
        .filter(|(_, source)| !source.path.as_os_str().is_empty())
        .map(|(path, source)| (path, source, real(&source.path)))
        .collect();
    for (path, source) in super::directories(config).filter(|(_, source)| source.path.as_os_str().is_empty())
    {
        report.mistake(
            &format!("{path}.path"),
            format!("path of source {:?} is empty; name the folder to watch", source.name),
        );
    }
    for (position, (path, source, folder)) in watched.iter().enumerate() {
        let earlier = watched[..position].iter().find(|(_, other, other_folder)| {
            folder == other_folder
                || (folder.starts_with(other_folder) && other.recursive)
                || (other_folder.starts_with(folder) && source.recursive)
        });
        if let Some((_, other, _)) = earlier {
            let text = format!(
                "source {:?} watches {}, and source {:?} watches {}: a file in both would be recognized and paid for twice; make \
                 them differ",
                source.name,
                source.path.display(),
                other.name,
                other.path.display()
            );
            report.mistake(&format!("{path}.path"), text);
        }
    }
    for (path, key, owner, output) in outputs(config) {
        let output_folder = real(output);
        let inside = watched.iter().find(|(_, _, folder)| output_folder.starts_with(folder));
        if let Some((_, source, _)) = inside {
            let text = format!(
                "{key} {}{owner} lies inside {}, which source {:?} watches: what is put there would be taken for new recordings; move \
                 it out",
                output.display(),
                source.path.display(),
                source.name
            );
            report.mistake(&path, text);
        }
    }
    for (path, source) in super::directories(config) {
        done(&path, source, report);
    }
}

/// The folders that the daemon writes to, with the keys that name them.
fn outputs(config: &Config) -> Vec<(String, &'static str, String, &Path)> {
    let mut outputs = vec![(
        "state.directory".to_owned(),
        "state.directory",
        String::new(),
        config.state.directory.as_path(),
    )];
    for (path, source) in super::directories(config) {
        let owner = format!(" of source {:?}", source.name);
        outputs.push((
            format!("{path}.done_directory"),
            "done_directory",
            owner.clone(),
            source.done_directory.as_path(),
        ));
        outputs.push((
            format!("{path}.failed_directory"),
            "failed_directory",
            owner,
            source.failed_directory.as_path(),
        ));
    }
    for (index, plugin) in config.plugin.iter().enumerate() {
        for (position, folder) in plugin.write.iter().enumerate() {
            let owner = format!(" of plugin {:?}", plugin.name);
            outputs.push((format!("plugin.{index}.write.{position}"), "write", owner, folder.as_path()));
        }
    }
    outputs.retain(|(_, _, _, folder)| !folder.as_os_str().is_empty());
    outputs
}

fn done(path: &str, source: &DirectorySource, report: &mut Report<'_>) {
    if source.when_done == WhenDone::Move && source.done_directory.as_os_str().is_empty() {
        let text =
            format!("source {:?} has when_done = \"move\" and no done_directory; say where to", source.name);
        report.mistake(&format!("{path}.when_done"), text);
    }
    if source.when_done == WhenDone::Keep && !source.done_directory.as_os_str().is_empty() {
        let text = format!(
            "source {:?} has a done_directory and when_done = \"keep\", which moves nothing; set when_done = \"move\"",
            source.name
        );
        report.mistake(&format!("{path}.done_directory"), text);
    }
}

/// The folder with links resolved as far as it exists, and `.` and `..` resolved by name beyond.
fn real(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut plain = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    let existing = plain.ancestors().find_map(|ancestor| {
        let real = ancestor.canonicalize().ok()?;
        let rest = plain.strip_prefix(ancestor).ok()?;
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    });
    existing.unwrap_or(plain)
}
