//! Finds what routes ask for and their models cannot do, and which models a route may use.

use std::collections::BTreeMap;

use super::context::ContextLimit;
use super::model::Model;
use super::{Config, Emotion, EngineChoice, Region, Route};

/// A warning about the value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Warning {
    /// As `route.0.words`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Config {
    /// The models that may get the recordings of a route, with their names.
    pub(super) fn models_of(&self, route: &Route) -> Vec<(&str, Model)> {
        let flash = Some(self.dashscope.flash_model());
        let filetrans = self.dashscope.filetrans_model();
        let names = match route.engine {
            EngineChoice::Auto => [flash, filetrans],
            EngineChoice::Flash => [flash, None],
            EngineChoice::Filetrans => [None, filetrans],
            EngineChoice::Own(_) => [None, None],
        };
        names.into_iter().flatten().filter_map(|name| Some((name, Model::of(name)?))).collect()
    }

    /// Warnings about what the models of the config's routes cannot do.
    pub(super) fn abilities(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |path: String, text: String| warnings.push(Warning { path, text });
        for (key, name) in [
            ("flash_model", &self.dashscope.flash_model),
            ("filetrans_model", &self.dashscope.filetrans_model),
        ] {
            let Some(model) = Model::of(name) else { continue };
            let path = || format!("dashscope.{key}");
            if self.dashscope.region == Region::Us && !model.in_us {
                warn(
                    path(),
                    format!(
                        "the region us does not serve {name}, by the provider's list of models; requests may be refused"
                    ),
                );
            }
            if !model.outputs.annotations {
                let text = format!(
                    "{name} tells no emotion and no language: emotion is null in events, and the language is the route's or the message's, \
                     else null; keep qwen3-asr-flash for routes that need them"
                );
                warn(path(), text);
            }
        }
        for (index, route) in self.route.iter().enumerate() {
            let models = self.models_of(route);
            for (name, model) in &models {
                for (key, text) in beyond(route, name, *model) {
                    warn(format!("route.{index}.{key}"), text);
                }
            }
            if let EngineChoice::Own(own) = &route.engine {
                if route.keeps_emotion_of_roles() {
                    let text = format!("the recognizer {own:?} tells no emotion; there is none to keep");
                    warn(format!("route.{index}.emotion"), text);
                }
                if route.speakers > 0 {
                    let text = format!("the recognizer {own:?} is not asked for speakers");
                    warn(format!("route.{index}.speakers"), text);
                }
                let is_chat =
                    self.recognizer.iter().any(|recognizer| recognizer.name == *own && recognizer.is_chat());
                if route.words && is_chat {
                    let text = format!(
                        "the recognizer {own:?} is asked through /v1/chat/completions, which tells no times of words; set its request = \"transcriptions\", if the server has it"
                    );
                    warn(format!("route.{index}.words"), text);
                }
            }
        }
        warnings
    }

    /// For each route, the fields of messages that models of the route ignore.
    pub fn unheeded(&self) -> Unheeded {
        let of_route = |route: &Route| {
            let of = |what: fn(&Route, &str, Model) -> Option<String>| -> Vec<String> {
                self.models_of(route)
                    .into_iter()
                    .filter_map(|(name, model)| what(route, name, model))
                    .collect()
            };
            (route.name.clone(), IgnoredBy { context: of(no_context), language: of(no_language) })
        };
        Unheeded(self.route.iter().map(of_route).collect())
    }
}

/// By route: the fields of messages that models of the route ignore.
#[derive(Debug, Clone, Default)]
pub struct Unheeded(BTreeMap<String, IgnoredBy>);

/// By field: a sentence for each model that ignores it.
#[derive(Debug, Clone, Default)]
struct IgnoredBy {
    context: Vec<String>,
    language: Vec<String>,
}

impl Unheeded {
    /// Why a message's context has no effect on this route; `None`: every model takes it.
    pub fn context(&self, route: &str) -> Option<String> {
        self.sentence(route, |unheard| &unheard.context)
    }

    /// As [`Self::context`], for a message's language. A language that a model refuses is an error of its own.
    pub fn language(&self, route: &str) -> Option<String> {
        self.sentence(route, |unheard| &unheard.language)
    }

    fn sentence(&self, route: &str, of: fn(&IgnoredBy) -> &Vec<String>) -> Option<String> {
        let sentences = of(self.0.get(route)?);
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }
}

impl Route {
    /// Whether the emotion is to be kept for some roles only.
    fn keeps_emotion_of_roles(&self) -> bool {
        matches!(&self.emotion, Emotion::Roles(roles) if !roles.is_empty())
    }
}

fn no_context(_route: &Route, name: &str, model: Model) -> Option<String> {
    (model.inputs.context == ContextLimit::NoContext).then(|| format!("{name} takes no context"))
}

/// The provider's documentation, "speakers".
fn no_language(route: &Route, name: &str, model: Model) -> Option<String> {
    let is_ignored = route.speakers > 0 && model.outputs.speakers && !model.is_task;
    is_ignored.then(|| format!("{name} ignores the language where it tells speakers apart"))
}

/// What a route asks for that a model cannot do: the key and a sentence.
fn beyond(route: &Route, name: &str, model: Model) -> Vec<(&'static str, String)> {
    let Model { is_task, inputs, outputs, .. } = model;
    let mut found = Vec::new();
    if route.words && !outputs.words {
        found.push(("words", format!("{name} tells no times of words; its segments have none")));
    }
    if route.speakers > 0 && !outputs.speakers {
        found.push(("speakers", format!("{name} does not tell speakers apart; its segments have none")));
    }
    if route.speakers > 0 && outputs.speakers && !is_task {
        let text = "flash does not tell speakers apart in recordings that are sent in pieces, for each piece would count its own";
        found.push(("speakers", text.to_owned()));
    }
    if !route.language.is_empty() {
        found.extend(no_language(route, name, model).map(|text| ("language", text)));
    }
    if route.keeps_emotion_of_roles() && !outputs.annotations {
        found.push(("emotion", format!("{name} tells no emotion; there is none to keep")));
    }
    if route.itn && !inputs.itn {
        found.push(("itn", format!("{name} has no switch for numbers as digits; itn has no effect")));
    }
    if let Some(text) = no_context(route, name, model) {
        let keys = [
            ("context", !route.context.is_empty()),
            ("context_file", !route.context_file.as_os_str().is_empty()),
            ("hotwords", !route.hotwords.is_empty()),
        ];
        for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
            found.push((key, format!("{text}; {key} has no effect with it")));
        }
    }
    if inputs.hotwords
        && let Some(long) = route.hotwords.iter().find(|hotword| !hotword.is_short())
    {
        let text = format!("{name} takes no hot word as long as {:?}; it is added to the context", long.word);
        found.push(("hotwords", text));
    }
    found
}
