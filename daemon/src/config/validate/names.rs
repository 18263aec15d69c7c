//! Names, and the keys that refer to them.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use crate::config::nearest::suggestion;
use crate::config::report::Report;
use crate::config::{Config, DEFAULT_ROUTE, Source};

pub(super) fn names(config: &Config, report: &mut Report<'_>) {
    for (index, recognizer) in config.recognizer.iter().enumerate() {
        let keys = [
            ("name", recognizer.name.as_ref()),
            ("base_url", recognizer.base_url.as_ref()),
            ("model", recognizer.model.as_ref()),
        ];
        required("recognizer", index, &keys, report);
    }
    for (index, source) in config.source.iter().enumerate() {
        let (key, value) = match source {
            Source::Directory(source) => ("path", source.path.as_os_str()),
            Source::Nats(source) => ("subject", source.subject.as_ref()),
        };
        required("source", index, &[("name", source.name().as_ref()), (key, value)], report);
    }
    for (index, route) in config.route.iter().enumerate() {
        required("route", index, &[("name", route.name.as_ref())], report);
    }
    for (index, plugin) in config.plugin.iter().enumerate() {
        let keys = [("name", plugin.name.as_ref()), ("library", plugin.library.as_ref())];
        required("plugin", index, &keys, report);
    }
    for (index, webhook) in config.webhook.iter().enumerate() {
        let keys = [
            ("name", webhook.name.as_ref()),
            ("url", webhook.url.as_ref()),
            ("secret_file", webhook.secret_file.as_os_str()),
        ];
        required("webhook", index, &keys, report);
    }
    unique("recognizer", config.recognizer.iter().map(|recognizer| recognizer.name.as_str()), report);
    unique("source", config.source.iter().map(|source| source.name()), report);
    unique("route", config.route.iter().map(|route| route.name.as_str()), report);
    unique("plugin", config.plugin.iter().map(|plugin| plugin.name.as_str()), report);
    unique("webhook", config.webhook.iter().map(|webhook| webhook.name.as_str()), report);
}

/// Keys of an element that have no useful default.
fn required(table: &str, index: usize, keys: &[(&str, &OsStr)], report: &mut Report<'_>) {
    for (key, _) in keys.iter().filter(|(_, value)| value.is_empty()) {
        report.mistake(&format!("{table}.{index}.{key}"), format!("[[{table}]] lacks {key:?}"));
    }
}

pub(super) fn references(config: &Config, report: &mut Report<'_>) {
    let mut routes: Vec<&str> = config.route.iter().map(|route| route.name.as_str()).collect();
    if !routes.contains(&DEFAULT_ROUTE) {
        routes.push(DEFAULT_ROUTE);
    }
    let sources: Vec<&str> = config.source.iter().map(|source| source.name()).collect();
    for (index, source) in config.source.iter().enumerate() {
        if !routes.contains(&source.route()) {
            let hint = suggestion(source.route(), &routes);
            let text = format!(
                "there is no [[route]] named {:?}, which source {:?} takes{hint}",
                source.route(),
                source.name()
            );
            report.mistake(&format!("source.{index}.route"), text);
        }
    }
    for (element, source) in super::intakes(config) {
        for (position, name) in source.allow_routes.iter().enumerate() {
            if !routes.contains(&name.as_str()) {
                let hint = suggestion(name, &routes);
                let text = format!(
                    "there is no [[route]] named {name:?}, which messages of source {:?} may choose{hint}",
                    source.name
                );
                report.mistake(&format!("{element}.allow_routes.{position}"), text);
            }
        }
    }
    let plugins = config.plugin.iter().map(|plugin| (&plugin.name, &plugin.sources));
    let webhooks = config.webhook.iter().map(|webhook| (&webhook.name, &webhook.sources));
    for (table, listeners) in [("plugin", Vec::from_iter(plugins)), ("webhook", Vec::from_iter(webhooks))] {
        for (index, (listener, named)) in listeners.into_iter().enumerate() {
            for (position, name) in
                named.iter().enumerate().filter(|(_, name)| !sources.contains(&name.as_str()))
            {
                let hint = suggestion(name, &sources);
                let text = format!(
                    "there is no [[source]] named {name:?}, which {table} {listener:?} listens to{hint}"
                );
                report.mistake(&format!("{table}.{index}.sources.{position}"), text);
            }
        }
    }
}

/// Names become subject tokens, metric labels and folders.
fn unique<'n>(table: &str, names: impl Iterator<Item = &'n str>, report: &mut Report<'_>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, name) in names.enumerate() {
        let path = format!("{table}.{index}.name");
        if !is_name(name) {
            report.mistake(
                &path,
                format!("name = {name:?} of [[{table}]] must be made of a-z, 0-9, _ and -, as in \"calls\""),
            );
        } else if seen.insert(name, index).is_some() {
            report.mistake(
                &path,
                format!("another [[{table}]] is named {name:?} already; each needs a name of its own"),
            );
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(fits)
}
