//! Folders: no recording may be found twice, and no file that the daemon writes may be taken for a recording.

use std::path::{Component, Path, PathBuf};

use crate::config::report::Report;
use crate::config::{Config, DirectorySource, WhenDone};

pub(super) fn folders(config: &Config, report: &mut Report<'_>) {
    let watched: Vec<_> = super::directories(config)
        .filter(|(_, source)| !source.path.as_os_str().is_empty())
        .map(|(path, source)| (path, source, real(&source.path)))
        .collect();
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
    for (path, name, output) in outputs(config) {
        let output_folder = real(output);
        let inside = watched.iter().find(|(_, _, folder)| output_folder.starts_with(folder));
        if let Some((_, source, _)) = inside {
            let text = format!(
                "{name} ({}) lies inside {}, which source {:?} watches: what is put there would be taken for new recordings; move it out",
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

/// The folders that the daemon and its plugins write to, each with the path of its key, and its name.
fn outputs(config: &Config) -> Vec<(String, String, &Path)> {
    let state =
        ("state.directory".to_owned(), "state.directory".to_owned(), config.state.directory.as_path());
    let mut outputs = vec![state];
    for (path, source) in super::directories(config) {
        for (key, folder) in
            [("done_directory", &source.done_directory), ("failed_directory", &source.failed_directory)]
        {
            outputs.push((format!("{path}.{key}"), format!("{key} of source {:?}", source.name), folder));
        }
    }
    for (index, plugin) in config.plugin.iter().enumerate() {
        for (position, folder) in plugin.write.iter().enumerate() {
            let path = format!("plugin.{index}.write.{position}");
            outputs.push((path, format!("write of plugin {:?}", plugin.name), folder));
        }
        let path = format!("plugin.{index}.files");
        outputs.push((path, format!("files of plugin {:?}", plugin.name), &plugin.files));
    }
    outputs.retain(|(_, _, folder)| !folder.as_os_str().is_empty());
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

/// The folder with links resolved as far as it exists, and `..` resolved by name beyond.
fn real(folder: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    let existing = plain
        .ancestors()
        .find_map(|ancestor| Some(ancestor.canonicalize().ok()?.join(plain.strip_prefix(ancestor).ok()?)));
    existing.unwrap_or(plain)
}
