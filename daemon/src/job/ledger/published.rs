//! What the events of an open job have published, as far as later events depend on it: the alerts and other emissions of plugins, and the
//! `annotation.speech`. The rows go with the texts of the job.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use hark_sdk::event::{Alert, AnnotationSpeech, Body, PluginEvent};
use rusqlite::{Connection, params};
use serde_json::json;
use tracing::warn;
use uuid::Uuid;

use super::{LedgerError, form, sql};
use crate::job::emission::{self, Identity, TENTATIVE, unconfirmed};

/// The most emissions of one plugin that are stored of a job, partials and segments included: a call of twelve hours in pieces of half a
/// minute with some alerts in each has as many. The bound keeps a plugin that emits without end from filling the disk. Annotations do not
/// name their plugin: those of all plugins have one bound together.
const MOST: u64 = 20_000;

/// Key of the `annotation.speech`.
const SPEECH: &str = "speech";

/// The emissions that are not stored yet, in order; notes them as stored.
///
/// # Errors
/// When a statement fails.
pub(super) fn new_ones(
    connection: &Connection,
    job: Uuid,
    emitted: Vec<Body>,
) -> Result<Vec<Body>, LedgerError> {
    let mut new = Vec::new();
    let mut numbers = HashMap::<String, u64>::new();
    let mut totals = BTreeMap::<String, u64>::new();
    for body in emitted {
        let plugin = emission::plugin(&body).to_owned();
        let total = match totals.entry(plugin.clone()) {
            Entry::Vacant(unread) => {
                let stored = count(connection, job, &total_of(unread.key()))?;
                unread.insert(stored)
            }
            Entry::Occupied(read) => read.into_mut(),
        };
        let has_room = *total <= MOST;
        match Identity::of(&body) {
            Identity::Alert { key, state } => {
                let stored = count(connection, job, &key)?;
                if stored >= state || stored == 0 && !has_room {
                    continue;
                }
                let alert = match &body {
                    Body::AlertRaised(alert) if state == TENTATIVE => Some(form::to_json(alert)?),
                    _ => None,
                };
                note(connection, job, &key, state, alert)?;
                // What became of a stored alert is stored too: else the job's end would retract an alert that was confirmed.
                if stored > 0 {
                    new.push(body);
                    continue;
                }
            }
            _ if !has_room => continue,
            Identity::Numbered { series } => {
                let number = numbers.entry(series.clone()).or_default();
                *number += 1;
                if count(connection, job, &series)? >= *number {
                    continue;
                }
                note(connection, job, &series, *number, None)?;
            }
            Identity::New => {}
        }
        *total += 1;
        if *total <= MOST {
            new.push(body);
            continue;
        }
        warn!(%job, plugin, most = MOST, "the plugin emits more about the job than is stored; the rest is dropped");
        if !plugin.is_empty() {
            let error = format!("it emitted more than {MOST} events about this job; the rest is dropped");
            new.push(Body::Plugin(PluginEvent {
                plugin,
                data: json!({ "error": error }),
                ..PluginEvent::default()
            }));
        }
    }
    for (plugin, total) in totals {
        note(connection, job, &total_of(&plugin), total, None)?;
    }
    Ok(new)
}

/// Key of the number of emissions of a plugin.
fn total_of(plugin: &str) -> String {
    format!("total/{plugin}")
}

/// The retractions of the alerts that are still tentative.
///
/// # Errors
/// When a row cannot be read.
pub(super) fn retractions(connection: &Connection, job: Uuid) -> Result<Vec<Body>, LedgerError> {
    let alerts: Vec<String> = sql::all(
        connection,
        "SELECT body FROM published WHERE job = ?1 AND key GLOB 'alert/*' AND body IS NOT NULL ORDER BY key",
        [job],
        |row| row.get(0),
    )?;
    let retracted = |alert: &String| Ok(unconfirmed(form::from_json::<Alert>("published", alert)?));
    alerts.iter().map(retracted).collect()
}

/// Notes the `annotation.speech` among a job's events, which plugins get before the final.
///
/// # Errors
/// When the statement fails.
pub(super) fn keep_speech(connection: &Connection, job: Uuid, events: &[Body]) -> Result<(), LedgerError> {
    for body in events {
        if let Body::AnnotationSpeech(speech) = body {
            note(connection, job, SPEECH, 1, Some(form::to_json(speech)?))?;
        }
    }
    Ok(())
}

/// The `annotation.speech` of a job, if it has one.
///
/// # Errors
/// When the row cannot be read.
pub fn speech(connection: &Connection, job: Uuid) -> Result<Option<AnnotationSpeech>, LedgerError> {
    let query = "SELECT body FROM published WHERE job = ?1 AND key = ?2";
    let body: Option<String> = sql::first(connection, query, params![job, SPEECH], |row| row.get(0))?;
    body.as_deref().map(|body| form::from_json("published", body)).transpose()
}

/// Forgets what a job has published.
///
/// # Errors
/// When the statement fails.
pub(super) fn erase(connection: &Connection, job: Uuid) -> Result<(), LedgerError> {
    sql::run(connection, "DELETE FROM published WHERE job = ?1", [job])
}

fn count(connection: &Connection, job: Uuid, key: &str) -> Result<u64, LedgerError> {
    let query = "SELECT count FROM published WHERE job = ?1 AND key = ?2";
    Ok(sql::first(connection, query, params![job, key], |row| row.get(0))?.unwrap_or(0))
}

fn note(
    connection: &Connection,
    job: Uuid,
    key: &str,
    count: u64,
    body: Option<String>,
) -> Result<(), LedgerError> {
    sql::run(
        connection,
        "INSERT OR REPLACE INTO published (job, key, count, body) VALUES (?1, ?2, ?3, ?4)",
        params![job, key, count, body],
    )
}

#[cfg(test)]
mod tests {
    use hark_sdk::event::{About, AlertState};

    use super::*;

    const JOB: Uuid = Uuid::from_u128(7);

    fn ledger() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        connection
    }

    fn alert(id: &str, state: AlertState) -> Body {
        Body::AlertRaised(Alert { alert: id.into(), plugin: "keywords".into(), state, ..Alert::default() })
    }

    fn retracted(id: &str) -> Body {
        let Body::AlertRaised(alert) = alert(id, AlertState::Tentative) else { unreachable!() };
        Body::AlertRetracted(alert)
    }

    fn event(plugin: &str, piece: Option<u32>, word: u64) -> Body {
        let about = About { piece, revision: None };
        Body::Plugin(PluginEvent { plugin: plugin.into(), data: json!(word), about })
    }

    #[test]
    fn a_final_that_tells_what_segments_told_publishes_nothing_twice() {
        let ledger = ledger();
        let new = |emitted: Vec<Body>| new_ones(&ledger, JOB, emitted).unwrap();
        let (tentative, confirmed) = (alert("1", AlertState::Tentative), alert("1", AlertState::Confirmed));
        assert_eq!(new(vec![tentative.clone()]).len(), 1);
        assert_eq!(new(vec![tentative.clone()]), [], "of the next partial");
        assert_eq!(new(vec![confirmed.clone(), confirmed.clone()]), std::slice::from_ref(&confirmed));
        assert_eq!(new(vec![tentative, confirmed]), [], "of the final");
        assert_eq!(retractions(&ledger, JOB).unwrap(), []);
        assert_eq!(new(vec![retracted("1")]).len(), 1);
        assert_eq!(new(vec![alert("1", AlertState::Confirmed)]), [], "what is retracted stays so");
    }

    #[test]
    fn what_is_stored_of_a_plugin_is_left_out_whichever_other_plugins_there_are() {
        let ledger = ledger();
        new_ones(&ledger, JOB, vec![event("a", None, 1), event("b", None, 1), event("a", None, 2)]).unwrap();
        let all = vec![event("c", None, 1), event("a", None, 1), event("a", None, 2), event("a", None, 3)];
        assert_eq!(new_ones(&ledger, JOB, all).unwrap(), [event("c", None, 1), event("a", None, 3)]);
        let of_pieces = vec![event("a", Some(1), 1), event("a", Some(2), 1)];
        assert_eq!(new_ones(&ledger, JOB, of_pieces.clone()).unwrap(), of_pieces);
        assert_eq!(new_ones(&ledger, JOB, of_pieces).unwrap(), []);
        let other = Uuid::from_u128(8);
        assert_eq!(new_ones(&ledger, other, vec![event("a", None, 1)]).unwrap().len(), 1);
    }

    #[test]
    fn an_alert_that_is_tentative_at_the_end_is_retracted() {
        let ledger = ledger();
        let raised = ["1", "2"].map(|id| alert(id, AlertState::Tentative));
        new_ones(&ledger, JOB, raised.to_vec()).unwrap();
        new_ones(&ledger, JOB, vec![retracted("2")]).unwrap();
        let [Body::AlertRetracted(alert)] = &retractions(&ledger, JOB).unwrap()[..] else { panic!() };
        assert_eq!((alert.alert.as_str(), alert.reason.is_some()), ("1", true));
        erase(&ledger, JOB).unwrap();
        assert_eq!(retractions(&ledger, JOB).unwrap(), []);
    }

    #[test]
    fn an_alert_of_a_plugin_without_room_is_still_confirmed_and_no_other_is_raised() {
        let ledger = ledger();
        let flood = || event("keywords", None, 1);
        new_ones(&ledger, JOB, vec![alert("1", AlertState::Tentative)]).unwrap();
        new_ones(&ledger, JOB, (0..=MOST).map(|_| flood()).collect()).unwrap();
        let confirmed = alert("1", AlertState::Confirmed);
        let emitted = vec![confirmed.clone(), alert("2", AlertState::Tentative), flood()];
        assert_eq!(new_ones(&ledger, JOB, emitted).unwrap(), [confirmed]);
        assert_eq!(retractions(&ledger, JOB).unwrap(), []);
    }

    #[test]
    fn a_plugin_that_emits_without_end_fills_no_disk_and_takes_no_room_from_another() {
        let ledger = ledger();
        let partial = |plugin: &str, revision| {
            let about = About { piece: None, revision: Some(revision) };
            Body::Plugin(PluginEvent { plugin: plugin.into(), about, ..PluginEvent::default() })
        };
        let mut stored = Vec::new();
        for revision in 0..100 {
            stored.extend(new_ones(&ledger, JOB, vec![partial("a", revision); 256]).unwrap());
        }
        let last = stored.pop().unwrap();
        assert_eq!(stored.len() as u64, MOST);
        let Body::Plugin(PluginEvent { plugin, data, .. }) = last else { panic!("{last:?}") };
        let error = "it emitted more than 20000 events about this job; the rest is dropped";
        assert_eq!((plugin.as_str(), data), ("a", json!({ "error": error })));
        let of_both = vec![partial("a", 100), partial("b", 100)];
        assert_eq!(new_ones(&ledger, JOB, of_both).unwrap(), [partial("b", 100)]);
    }
}
