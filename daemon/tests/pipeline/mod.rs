//! Plugins in real processes, mostly broken ones: whatever a plugin does, the transcript and the other plugins' events are published.

mod deaths;
mod events;
mod library;
mod loader;
mod sandbox;
mod talk;

use std::time::Duration;

use hark_sdk::event::Event;
use hark_sdk::testing::transcript;
use harkd::pipeline::Processed;

use crate::plugins::data;
pub(crate) use crate::support::number_from;

/// A transcript with the command that `moody` obeys.
pub(crate) fn told(what: &str) -> Event {
    transcript(&[&format!("do {what}")])
}

pub(crate) fn error_of(processed: &Processed, plugin: &str) -> String {
    let error = data(processed, plugin).find_map(|data| Some(data["error"].as_str()?.to_owned()));
    error.unwrap_or_else(|| panic!("no error of {plugin} in {:?}", processed.emitted))
}

pub(crate) fn greeted(processed: &Processed, plugin: &str) -> bool {
    data(processed, plugin).any(|data| data.get("greeting").is_some())
}

pub(crate) fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("{:?} (median), {:?} (worst)", times[times.len() / 2], times[times.len() - 1])
}
