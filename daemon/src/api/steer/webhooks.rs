//! Webhooks: their state, a test event, what was set aside, the end of a pause.

use serde::{Deserialize, Serialize};

use super::{Named, Refusal, Steer};
use crate::publish::webhooks::{self, Tested, View};

/// The webhooks of this daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listed {
    pub webhooks: Vec<View>,
}

/// A request without fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// What a retry found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Retried {
    /// How many events were set aside.
    pub events: u64,
    /// Nothing is sent before the pause ends.
    pub is_paused: bool,
}

/// What the end of a pause found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Resumed {
    pub was_paused: bool,
}

/// Lists the webhooks as this daemon sees them.
///
/// # Errors
/// None; the other requests have some.
pub async fn list(steer: Steer, Nothing {}: Nothing) -> Result<Listed, Refusal> {
    Ok(Listed { webhooks: steer.webhooks.list() })
}

/// Sends a test event. An event that is not taken is no refusal.
///
/// # Errors
/// [`Refusal::Unknown`]; [`Refusal::Conflict`] where another daemon delivers; [`Refusal::NotNow`].
pub async fn test(steer: Steer, Named { name }: Named) -> Result<Tested, Refusal> {
    steer.webhooks.test(&name).await.map_err(|refused| refusal(refused, &name))
}

/// Sends again what was set aside, and at once what waits to be tried again.
///
/// # Errors
/// As [`test()`].
pub async fn retry(steer: Steer, Named { name }: Named) -> Result<Retried, Refusal> {
    let events = steer.webhooks.retry(&name).await.map_err(|refused| refusal(refused, &name))?;
    let mut views = steer.webhooks.list().into_iter();
    let is_paused = views.any(|view| view.name == name && view.paused.is_some());
    Ok(Retried { events, is_paused })
}

/// Ends a pause, for every daemon.
///
/// # Errors
/// As [`test()`].
pub async fn resume(steer: Steer, Named { name }: Named) -> Result<Resumed, Refusal> {
    let was_paused = steer.webhooks.resume(&name).await.map_err(|refused| refusal(refused, &name))?;
    Ok(Resumed { was_paused })
}

fn refusal(refused: webhooks::Refusal, name: &str) -> Refusal {
    let text = format!("webhook {name:?}: {refused}");
    match refused {
        webhooks::Refusal::Unknown => Refusal::Unknown(text),
        webhooks::Refusal::Elsewhere => Refusal::Conflict(text),
        webhooks::Refusal::NotNow => Refusal::NotNow(text),
    }
}
