//! Routes: what the region and the service can do.

use super::recognizers::SHORTEST_PIECE;
use crate::config::nearest::suggestion;
use crate::config::report::Report;
use crate::config::{
    Channels, Config, DirectorySource, ENGINES, EngineChoice, Route, Source, Template, language_code,
};

pub(super) fn routes(config: &Config, report: &mut Report<'_>) {
    for (index, route) in config.route.iter().enumerate() {
        let path = |key: &str| format!("route.{index}.{key}");
        if !route.context.is_empty() && !route.context_file.as_os_str().is_empty() {
            report.mistake(&path("context_file"), "context and context_file are both set; keep one of them");
        } else {
            let key = if route.context_file.as_os_str().is_empty() { "context" } else { "context_file" };
            let text = route.context_text().and_then(|text| match Template::parse(&text) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{key} of route {:?}: {error}", route.name)),
            });
            if let Err(text) = text {
                report.mistake(&path(key), text);
            }
        }
        if !is_language(&route.language) {
            let advice = match language_code(&route.language) {
                Some(code) => format!("write {code:?}"),
                None => "empty detects it".to_owned(),
            };
            let text = format!(
                "language = {:?} is not a code such as \"en\", \"zh\" or \"yue\"; {advice}",
                route.language
            );
            report.mistake(&path("language"), text);
        }
        if let EngineChoice::Own(name) = &route.engine {
            unknown_engine(config, name, &path("engine"), report);
        }
        if !route.roles.is_empty() && route.channels == Channels::Mix {
            report.mistake(
                &path("roles"),
                "roles name the channels, which are mixed here; set channels = \"split\", or leave roles out",
            );
        }
        if route.piece < SHORTEST_PIECE {
            report.mistake(
                &path("piece"),
                "piece is shorter than a second; set it to the default \"3m\", or to \"1s\" or more",
            );
        }
        if route.engine == EngineChoice::Filetrans {
            filetrans(config, route, &path("engine"), report);
        }
    }
}

/// Two or three small letters; which codes a model knows changes with the model.
fn is_language(code: &str) -> bool {
    code.is_empty() || (matches!(code.len(), 2 | 3) && code.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The name of an engine that there is not.
fn unknown_engine(config: &Config, name: &str, path: &str, report: &mut Report<'_>) {
    let own = config.recognizer.iter().map(|recognizer| recognizer.name.as_str());
    let engines: Vec<&str> = ENGINES.into_iter().chain(own).collect();
    if !engines.contains(&name) {
        let hint = suggestion(name, &engines);
        let text = format!(
            "engine = {name:?} is neither auto, flash or filetrans nor the name of a [[recognizer]]{hint}"
        );
        report.mistake(path, text);
    }
}

fn filetrans(config: &Config, route: &Route, path: &str, report: &mut Report<'_>) {
    if config.dashscope.filetrans_model().is_none() {
        let text = format!(
            "route {:?} wants engine = \"filetrans\", and dashscope.region = \"us\" has no such model; use \"auto\" or \"flash\", or \
             set dashscope.filetrans_model",
            route.name
        );
        report.mistake(path, text);
    }
    let local = config.source.iter().filter_map(Source::folder).find(|source| source.route == route.name);
    if let Some(DirectorySource { name: source, .. }) = local
        && !config.dashscope.allow_temporary_upload
        && config.storage.url.is_empty()
    {
        let text = format!(
            "route {:?} sends the files of source {source:?} to filetrans, which fetches them from a URL, and \
             dashscope.allow_temporary_upload = false leaves none; allow it, name a bucket in storage.url, or use \"auto\" or \"flash\"",
            route.name
        );
        report.mistake(path, text);
    }
}
