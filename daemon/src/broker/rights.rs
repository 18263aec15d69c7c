//! The rights that the daemon's NATS user needs, and those that it has: docs/nats.md lists them.

use std::time::Duration;

use serde::Deserialize;

use super::stream::covers;
use super::{JetStream, Subjects, Unanswered};
use crate::config::{Config, Source};

/// The server answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// On this subject the server tells every user its own rights.
const USER_INFO: &str = "$SYS.REQ.USER.INFO";

/// To erase messages for good.
const ERASING: &str = "STREAM.MSG.GET.{} STREAM.MSG.DELETE.{}";
/// To read objects.
const READING: &str = "STREAM.INFO.{} DIRECT.GET.{}.> CONSUMER.CREATE.{}";

/// Rights of one user, or those that it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
}

impl Rights {
    /// Those that a daemon with this config needs.
    pub fn needed(config: &Config) -> Rights {
        let nats = &config.nats;
        let subjects = Subjects::new(&nats.subject_prefix);
        let api = match nats.jetstream_domain.as_str() {
            "" => "$JS.API".to_owned(),
            domain => format!("$JS.{domain}.API"),
        };
        let mut publish = vec![subjects.every_event(), format!("{api}.INFO")];
        let mut of = |stream: &str, verbs: &str| {
            let rights = verbs.split_whitespace().map(|verb| format!("{api}.{verb}").replace("{}", stream));
            publish.extend(rights);
        };
        of(&nats.events_stream, "STREAM.INFO.{} CONSUMER.CREATE.{} CONSUMER.MSG.NEXT.{}.>");
        of(&nats.events_stream, ERASING);
        of("OBJ_HARK_TRANSCRIPTS", READING);
        of("OBJ_HARK_TRANSCRIPTS", "STREAM.PURGE.{}");
        of("OBJ_HARK_TRANSCRIPTS", ERASING);
        let intakes = config.source.iter().filter_map(Source::intake);
        let mut has_intake = false;
        for intake in intakes {
            has_intake = true;
            let stream = if intake.stream.is_empty() { &nats.audio_stream } else { &intake.stream };
            of(stream, "STREAM.INFO.{} CONSUMER.INFO.{}.> CONSUMER.CREATE.{}.> CONSUMER.MSG.NEXT.{}.>");
            of(stream, ERASING);
            for bucket in &intake.allow_buckets {
                of(&format!("OBJ_{bucket}"), READING);
                of(&format!("OBJ_{bucket}"), ERASING);
            }
        }
        if has_intake {
            of("KV_HARK_JOBS", "STREAM.INFO.{} STREAM.MSG.GET.{} STREAM.PURGE.{}");
            publish.push(match nats.jetstream_domain.as_str() {
                "" => "$KV.HARK_JOBS.>".to_owned(),
                _ => format!("{api}.$KV.HARK_JOBS.>"),
            });
        }
        publish.sort();
        publish.dedup();
        Rights { publish, subscribe: vec!["_INBOX.>".to_owned(), format!("{}.>", subjects.control())] }
    }

    /// Those of these rights that the user of this connection lacks.
    ///
    /// # Errors
    /// The server does not tell.
    pub async fn missing(self, jetstream: &JetStream) -> Result<Rights, Unanswered> {
        let client = jetstream.client();
        let asked = tokio::time::timeout(PATIENCE, client.request(USER_INFO, "".into()));
        let answer = jetstream.unless_refused(&[USER_INFO], asked).await?;
        let no_answer = |reason: String| Unanswered::NoAnswer(format!("the server does not tell: {reason}"));
        let answer = answer
            .map_err(|late| no_answer(late.to_string()))?
            .map_err(|error| no_answer(error.to_string()))?;
        let Answer { data } =
            serde_json::from_slice(&answer.payload).map_err(|error| no_answer(error.to_string()))?;
        let Permissions { publish, subscribe } = data.permissions;
        Ok(Rights { publish: publish.lacks(self.publish), subscribe: subscribe.lacks(self.subscribe) })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.publish.is_empty() && self.subscribe.is_empty()
    }
}

#[derive(Deserialize)]
struct Answer {
    data: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    permissions: Permissions,
}

/// Without any, everything is allowed.
#[derive(Deserialize, Default)]
struct Permissions {
    #[serde(default)]
    publish: Subject,
    #[serde(default)]
    subscribe: Subject,
}

#[derive(Deserialize, Default)]
struct Subject {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

impl Subject {
    fn lacks(&self, needed: Vec<String>) -> Vec<String> {
        let is_allowed = |right: &String| {
            let allows = self.allow.is_empty() || self.allow.iter().any(|allowed| covers(allowed, right));
            allows && !self.deny.iter().any(|denied| covers(denied, right))
        };
        needed.into_iter().filter(|right| !is_allowed(right)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_about_rights_has_every_right_that_is_looked_for() {
        let page = include_str!("../../../docs/nats.md");
        let text = "[[source]]\nname = \"inbox\"\nkind = \"nats\"\nsubject = \"hark.audio.inbox\"\n";
        let config =
            crate::config::inspect_text("harkd.toml", text, &Default::default()).into_result().unwrap();
        let needed = Rights::needed(&config);
        assert!(needed.publish.len() > 15, "{needed:?}");
        for right in needed.publish.iter().chain(&needed.subscribe).map(String::as_str).chain([USER_INFO]) {
            assert!(page.contains(&format!("{right:?}")), "docs/nats.md lacks {right}");
        }
    }

    #[test]
    fn a_right_is_missing_that_no_entry_allows_or_one_denies() {
        let lacks = |allow: &[&str], deny: &[&str], right: &str| {
            let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            !Subject { allow: owned(allow), deny: owned(deny) }.lacks(vec![right.to_owned()]).is_empty()
        };
        assert!(!lacks(&[], &[], "hark.event.>"));
        assert!(!lacks(&["hark.>"], &[], "hark.event.>"));
        assert!(lacks(&["hark.event.job.>"], &[], "hark.event.>"));
        assert!(lacks(&["hark.>"], &["hark.event.>"], "hark.event.>"));
        assert!(lacks(&[], &[">"], "$JS.API.INFO"));
    }
}
