//! SIGHUP reloads the config: what is changed, what stays, and what is refused, while recordings come and are under way.

mod load;
mod recognizers;
mod refused;
mod sources;
mod systemd;

use crate::support::{CEILING, Hark, ReceivedEvent, wait_until};

/// Waits for the end of the job of a recording, and returns the job's events.
pub(crate) async fn events_of_recording(hark: &mut Hark, name: &str) -> Vec<ReceivedEvent> {
    let mut events = Vec::new();
    wait_until(&format!("the end of {name}"), CEILING, async || {
        let all = hark.events().await;
        let is_last = |event: &&ReceivedEvent| matches!(event.kind(), "job.completed" | "job.failed");
        let ended = all.iter().filter(is_last).find(|event| event.body["recording"]["name"] == name);
        let Some(job) = ended.map(|event| event.job().to_owned()) else { return false };
        events = all.into_iter().filter(|event| event.job() == job).collect();
        true
    })
    .await;
    events
}

/// The only event of this kind.
pub(crate) fn only<'a>(events: &'a [ReceivedEvent], kind: &str) -> &'a ReceivedEvent {
    let found: Vec<&ReceivedEvent> = events.iter().filter(|event| event.kind() == kind).collect();
    assert_eq!(
        found.len(),
        1,
        "{kind} among {:?}",
        events.iter().map(ReceivedEvent::kind).collect::<Vec<_>>()
    );
    found[0]
}
