//! The service's models, and what routes ask of them.

use crate::config::hotword::Hotword;
use crate::config::model::Model;
use crate::config::nearest::suggestion;
use crate::config::report::Report;
use crate::config::{Config, Route, Template};

/// Names of every family, for suggestions.
const FLASH: [&str; 3] = ["qwen3-asr-flash", "qwen-audio-3.1-asr-flash", "fun-asr-flash"];
const FILETRANS: [&str; 4] =
    ["qwen3-asr-flash-filetrans", "qwen-audio-3.1-asr-flash-filetrans", "fun-asr", "paraformer-v2"];

/// The service tells at most this many speakers apart (the provider's documentation).
const MOST_SPEAKERS: u32 = 100;

pub(super) fn models(config: &Config, report: &mut Report<'_>) {
    let dashscope = &config.dashscope;
    for (path, name, is_task, names) in [
        ("dashscope.flash_model", &dashscope.flash_model, false, &FLASH[..]),
        ("dashscope.filetrans_model", &dashscope.filetrans_model, true, &FILETRANS[..]),
    ] {
        if name.is_empty() {
            continue;
        }
        match Model::of(name) {
            Some(model) if model.is_task == is_task => {}
            Some(_) => {
                let (is, other) = match is_task {
                    true => ("answers at once and makes no tasks", "dashscope.flash_model"),
                    false => ("makes tasks", "dashscope.filetrans_model"),
                };
                report.mistake(path, format!("the model {name:?} {is}; it belongs into {other}"));
            }
            None => {
                let hint = suggestion(name, names);
                report.mistake(
                    path,
                    format!("{path} = {name:?} is of no family of models that Hark speaks with{hint}"),
                );
            }
        }
    }
    let is_label = |text: &str| {
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        text.bytes().all(is_inside) && !text.starts_with('-') && !text.ends_with('-') && text.len() <= 63
    };
    if !is_label(&dashscope.workspace) {
        let text = "dashscope.workspace is not a workspace's id, which has letters, digits and -; the service's console shows it";
        report.mistake("dashscope.workspace", text);
    }
    for (index, route) in config.route.iter().enumerate() {
        let path = |key: &str| format!("route.{index}.{key}");
        if route.speakers > MOST_SPEAKERS {
            let text = format!(
                "speakers = {} is more than the service tells apart; at most {MOST_SPEAKERS}",
                route.speakers
            );
            report.mistake(&path("speakers"), text);
        }
        hotwords(route, &path("hotwords"), report);
        for (name, model) in config.models_of(route) {
            asked_of(route, name, model, path, report);
        }
    }
}

/// What a model refuses.
fn asked_of(route: &Route, name: &str, model: Model, path: impl Fn(&str) -> String, report: &mut Report<'_>) {
    let inputs = model.inputs;
    if inputs.languages.code(&route.language).is_none() && !route.language.is_empty() {
        let codes: Vec<&str> = inputs.languages.codes().collect();
        let text = format!(
            "the model {name} does not take language = {:?}; it takes {}",
            route.language,
            codes.join(", ")
        );
        report.mistake(&path("language"), text);
    }
    // A context file that cannot be read is a mistake of its own.
    let context = route.context_text().unwrap_or_default();
    let (whole, _) = inputs.divide(&context, &route.hotwords);
    if let Some(excess) = inputs.context.excess(&whole) {
        let key = match (route.context.is_empty(), route.context_file.as_os_str().is_empty()) {
            (false, _) => "context",
            (_, false) => "context_file",
            _ => "hotwords",
        };
        let with = if whole.len() > context.len() { ", with the hot words," } else { "" };
        report.mistake(
            &path(key),
            format!("the context of route {:?}{with} {excess} ({name}); shorten it", route.name),
        );
    }
}

fn hotwords(route: &Route, path: &str, report: &mut Report<'_>) {
    for (index, Hotword { word, weight }) in route.hotwords.iter().enumerate() {
        let path = format!("{path}.{index}");
        if word.trim().is_empty() {
            report.mistake(&path, "a hot word is empty");
        } else if let Err(error) = Template::parse(word) {
            report.mistake(&path, format!("hot word {word:?}: {error}"));
        } else if !(1..=5).contains(weight) && *weight != Hotword::SUPER {
            let text = format!(
                "weight = {weight} of the hot word {word:?} is neither 1 to 5 nor {}",
                Hotword::SUPER
            );
            report.mistake(&path, text);
        }
    }
    let supers = route.hotwords.iter().filter(|hotword| hotword.weight == Hotword::SUPER).count();
    if supers > Hotword::MOST_SUPER {
        let (most, weight) = (Hotword::MOST_SUPER, Hotword::SUPER);
        report.mistake(
            path,
            format!("{supers} hot words have the weight {weight}; the service takes {most} of them"),
        );
    }
}
