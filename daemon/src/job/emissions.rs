//! Counts the plugin events of a job that are stored already, so that a daemon that takes the job over does not publish them again.
//!
//! An emission (an event of a plugin) has a deterministic id within its job: its plugin, its kind, and its number among the emissions of
//! that plugin and kind. So the ids do not depend on which other plugins a daemon has. Pure.

use std::collections::BTreeMap;

use hark_sdk::event::Body;
use serde::{Deserialize, Serialize};

/// How many emissions of each plugin and kind are stored, by `<plugin>/<kind>`. Numbers run from 0, so the count is the next id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Emissions(BTreeMap<String, u64>);

impl Emissions {
    /// Counts one more stored emission.
    pub fn add(&mut self, body: &Body) {
        *self.0.entry(series(body)).or_default() += 1;
    }

    /// The emissions in `all` whose ids are not stored. `all`: what the plugins emitted for the final, in order.
    pub fn new_ones(mut self, all: Vec<Body>) -> impl Iterator<Item = Body> {
        all.into_iter().filter(move |body| match self.0.get_mut(&series(body)) {
            Some(stored) if *stored > 0 => {
                *stored -= 1;
                false
            }
            _ => true,
        })
    }
}

/// The key of an emission's count: plugin and kind. Annotations of a language or an emotion do not name the plugin that made them.
fn series(body: &Body) -> String {
    let plugin = match body {
        Body::AlertRaised(alert) | Body::AlertRetracted(alert) => alert.plugin.as_str(),
        Body::Plugin(event) => event.plugin.as_str(),
        _ => "",
    };
    format!("{plugin}/{}", body.kind())
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::PluginEvent;
    use serde_json::json;

    use super::*;

    fn say(plugin: &str, word: u64) -> Body {
        Body::Plugin(PluginEvent { plugin: plugin.into(), data: json!(word) })
    }

    #[test]
    fn what_is_stored_of_a_plugin_is_left_out_whichever_other_plugins_there_are() {
        let mut stored = Emissions::default();
        for body in [say("a", 1), say("b", 1), say("a", 2)] {
            stored.add(&body);
        }
        let all = vec![say("c", 1), say("a", 1), say("a", 2), say("a", 3)];
        let new: Vec<Body> = stored.new_ones(all).collect();
        assert_eq!(new, [say("c", 1), say("a", 3)]);
    }
}
