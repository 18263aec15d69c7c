//! The last words of the open jobs: the overview shows them while a call is being recognized.

use std::collections::HashMap;
use std::sync::Arc;

use hark_sdk::event::Kind;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::publish::{Feed, Published};

/// Jobs whose last words are kept: more than the default limits allow at a time. For further jobs the page shows no words until other jobs
/// end.
const MOST: usize = 2_048;

/// The characters kept of a text, its last ones.
const KEPT: usize = 240;

/// What was said last in a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Words {
    pub text: String,
    pub channel: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// A handle; clones share the same words.
#[derive(Debug, Clone, Default)]
pub struct LastWords(Arc<Mutex<HashMap<Uuid, Words>>>);

impl LastWords {
    /// The last words of a job that is under way; `None`: there are none yet.
    pub fn of(&self, job: Uuid) -> Option<Words> {
        self.0.lock().get(&job).cloned()
    }

    /// Follows what is published, until `stop`.
    pub async fn follow(self, feed: Feed, stop: CancellationToken) {
        let mut published = feed.listen();
        let follow = async {
            loop {
                match published.recv().await {
                    Ok(event) => self.hear(&event),
                    // Later words come; a job that ended meanwhile is not under way and is shown with its transcript.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        stop.run_until_cancelled(follow).await;
    }

    fn hear(&self, event: &Published) {
        let Ok(kind) = event.kind.parse::<Kind>() else { return };
        if kind.is_last() {
            self.0.lock().remove(&event.job);
            return;
        }
        let Some(words) = event.body.as_deref().and_then(|body| last_words(&kind, body)) else { return };
        let mut all = self.0.lock();
        if all.len() < MOST || all.contains_key(&event.job) {
            all.insert(event.job, words);
        }
    }
}

fn last_words(kind: &Kind, body: &[u8]) -> Option<Words> {
    #[derive(Deserialize)]
    struct Spoken {
        #[serde(default)]
        channel: u32,
        role: Option<String>,
        #[serde(default)]
        text: String,
        #[serde(default)]
        segments: Vec<Spoken>,
    }
    if !matches!(kind, Kind::TranscriptPartial | Kind::TranscriptSegment) {
        return None;
    }
    let heard: Spoken = serde_json::from_slice(body).ok()?;
    let Spoken { channel, role, text, .. } = match *kind {
        Kind::TranscriptSegment => {
            heard.segments.into_iter().rev().find(|segment| !segment.text.is_empty())?
        }
        _ => heard,
    };
    let skipped = text.chars().count().saturating_sub(KEPT);
    Some(Words { text: text.chars().skip(skipped).collect(), channel, role })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn published(job: u128, kind: &str, body: serde_json::Value) -> Published {
        let body = Some(serde_json::to_vec(&body).unwrap().into());
        Published {
            kind: kind.into(),
            source: "calls".into(),
            job: Uuid::from_u128(job),
            sequence: None,
            stream_seq: None,
            body,
        }
    }

    #[test]
    fn the_newest_text_of_a_running_job_is_kept_and_goes_with_its_end() {
        let words = LastWords::default();
        let job = Uuid::from_u128(1);
        words.hear(&published(
            1,
            "transcript.partial",
            json!({"channel": 1, "role": "agent", "text": "good"}),
        ));
        words.hear(&published(1, "alert.raised", json!({"quote": "x"})));
        assert_eq!(
            words.of(job).unwrap(),
            Words { text: "good".into(), channel: 1, role: Some("agent".into()) }
        );
        let segments = json!({"segments": [{"channel": 0, "text": "first"}, {"channel": 0, "text": ""}]});
        words.hear(&published(1, "transcript.segment", segments));
        assert_eq!(words.of(job).unwrap().text, "first");
        words.hear(&published(1, "transcript.partial", json!({"text": "ö".repeat(1_000)})));
        assert_eq!(words.of(job).unwrap().text.chars().count(), KEPT);
        words.hear(&published(1, "job.completed", json!({})));
        assert_eq!(words.of(job), None);
    }

    #[test]
    fn a_flood_of_jobs_is_bounded() {
        let words = LastWords::default();
        for job in 0..2 * MOST as u128 {
            words.hear(&published(job, "transcript.partial", json!({"text": "a"})));
        }
        assert_eq!(words.0.lock().len(), MOST);
    }
}
