//! Decides whether the ledger already has an emission of a plugin. The daemon stores each emission once, even if a plugin is called twice for
//! it: after a crash, by another daemon, or for a final that repeats what segments have raised. Pure.
//!
//! An alert is identified by its id: each of its states is stored once, and no state is stored after a later one. Any other emission about a
//! segment or the final has a deterministic identity within its job: what it is about, its plugin, its kind, and its number among these. So
//! identities do not depend on which other plugins a daemon runs. An emission about a partial is always new, because no partial is processed
//! twice.

use hark_sdk::event::{About, Alert, AlertState, Body};

/// How the daemon recognizes an emission that is stored already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// An alert. It is stored unless this alert has the same state already, or a later one.
    Alert { key: String, state: u64 },
    /// The next emission of a series. It is stored unless the series already has as many stored emissions.
    Numbered { series: String },
    /// Always stored.
    New,
}

/// The state of an alert that is tentative.
pub const TENTATIVE: u64 = 1;

impl Identity {
    /// Of an emission of a plugin.
    pub fn of(body: &Body) -> Identity {
        let (alert, state) = match body {
            Body::AlertRaised(alert) if alert.state == AlertState::Tentative => (alert, TENTATIVE),
            Body::AlertRaised(alert) => (alert, 2),
            Body::AlertRetracted(alert) => (alert, 3),
            other => return Identity::of_another(other),
        };
        Identity::Alert { key: format!("alert/{}/{}", alert.plugin, alert.alert), state }
    }

    fn of_another(body: &Body) -> Identity {
        let plugin = plugin(body);
        match body.about() {
            Some(About { revision: None, piece }) => {
                let piece = piece.map_or_else(|| "final".to_owned(), |piece| piece.to_string());
                Identity::Numbered { series: format!("{piece}/{plugin}/{}", body.kind()) }
            }
            _ => Identity::New,
        }
    }
}

/// The plugin that made an emission; empty for annotations, which do not name it.
pub fn plugin(body: &Body) -> &str {
    match body {
        Body::AlertRaised(alert) | Body::AlertRetracted(alert) => &alert.plugin,
        Body::Plugin(event) => &event.plugin,
        _ => "",
    }
}

/// The retraction of an alert that is still tentative at the end of its job.
pub fn unconfirmed(alert: Alert) -> Body {
    let reason = Some("not confirmed by the end of the job".to_owned());
    Body::AlertRetracted(Alert { reason, about: About::default(), ..alert })
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::PluginEvent;

    use super::*;

    fn numbered(series: &str) -> Identity {
        Identity::Numbered { series: series.into() }
    }

    #[test]
    fn an_emission_is_known_by_what_it_is_about_its_plugin_and_its_kind() {
        let of = |piece, revision| {
            let about = About { piece, revision };
            Identity::of(&Body::Plugin(PluginEvent { plugin: "a".into(), about, ..PluginEvent::default() }))
        };
        assert_eq!(of(None, None), numbered("final/a/plugin.a"));
        assert_eq!(of(Some(7), None), numbered("7/a/plugin.a"));
        assert_eq!(of(Some(7), Some(3)), Identity::New);
        assert_eq!(of(None, Some(3)), Identity::New);
    }

    #[test]
    fn an_alert_is_known_by_its_id_and_its_states_have_an_order() {
        let alert = |state| Alert { alert: "1".into(), plugin: "a".into(), state, ..Alert::default() };
        let states = [
            Body::AlertRaised(alert(AlertState::Tentative)),
            Body::AlertRaised(alert(AlertState::Confirmed)),
            Body::AlertRetracted(alert(AlertState::Tentative)),
        ];
        for (body, state) in states.iter().zip([TENTATIVE, 2, 3]) {
            assert_eq!(Identity::of(body), Identity::Alert { key: "alert/a/1".into(), state });
        }
    }
}
