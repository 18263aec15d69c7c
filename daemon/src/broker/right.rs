//! The right that a server's refusal is about, in the form in which docs/nats.md lists rights.

use std::fmt;

/// The right to publish, or to subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Right {
    verb: &'static str,
    subject: String,
}

impl Right {
    /// The right in `Permissions Violation for Publish to "…"` and similar texts; `prefix` is `nats.subject_prefix`.
    pub(super) fn named_in(words: &str, prefix: &str) -> Option<Right> {
        let (_, rest) = words.split_once("Permissions Violation for ")?;
        let (verb, rest) = match rest.strip_prefix("Publish to \"") {
            Some(rest) => ("publish to", rest),
            None => ("subscribe to", rest.strip_prefix("Subscription to \"")?),
        };
        Some(Right { verb, subject: pattern(rest.split('"').next()?, prefix) })
    }

    /// Whether this is the right to receive the answers of requests.
    pub(super) fn is_to_hear_answers(&self) -> bool {
        self.verb == "subscribe to" && self.subject == "_INBOX.>"
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.subject)
    }
}

/// The pattern that a subject belongs to: all answers, all acknowledgements, all keys of a bucket, all events, all consumers of a stream.
fn pattern(subject: &str, prefix: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').collect();
    let first = |count: usize| match tokens.get(..count) {
        Some(kept) if tokens.len() > count => format!("{}.>", kept.join(".")),
        _ => subject.to_owned(),
    };
    if let Some(api) = tokens.iter().position(|token| *token == "API").filter(|_| tokens[0] == "$JS") {
        let kept = match tokens.get(api + 1..).unwrap_or_default() {
            ["$KV", ..] => 2,
            ["CONSUMER", "MSG" | "DURABLE", ..] => 4,
            ["CONSUMER", ..] => 3,
            _ => return subject.to_owned(),
        };
        return first(api + 1 + kept);
    }
    match tokens[..] {
        ["_INBOX", ..] => first(1),
        ["$JS", "ACK", ..] => first(2),
        ["$KV" | "$O", ..] => first(2),
        _ if subject.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(".event.")) => {
            format!("{prefix}.event.>")
        }
        _ => subject.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_a_right_of_the_documents() {
        for (subject, right) in [
            ("hark.event.job.accepted.calls.01936f4e", "hark.event.>"),
            ("$JS.API.STREAM.INFO.HARK_EVENTS", "$JS.API.STREAM.INFO.HARK_EVENTS"),
            ("$JS.API.STREAM.MSG.GET.KV_HARK_JOBS", "$JS.API.STREAM.MSG.GET.KV_HARK_JOBS"),
            (
                "$JS.API.CONSUMER.CREATE.HARK_AUDIO.hark_inbox.hark.audio.inbox",
                "$JS.API.CONSUMER.CREATE.HARK_AUDIO.>",
            ),
            ("$JS.API.CONSUMER.MSG.NEXT.HARK_AUDIO.hark_inbox", "$JS.API.CONSUMER.MSG.NEXT.HARK_AUDIO.>"),
            ("$JS.API.CONSUMER.INFO.HARK_AUDIO.hark_inbox", "$JS.API.CONSUMER.INFO.HARK_AUDIO.>"),
            ("$JS.hub.API.$KV.HARK_JOBS.key.7", "$JS.hub.API.$KV.HARK_JOBS.>"),
            ("$JS.hub.API.INFO", "$JS.hub.API.INFO"),
            ("$KV.HARK_JOBS.HARK_AUDIO.7", "$KV.HARK_JOBS.>"),
            ("$O.HARK_TRANSCRIPTS.C.abc", "$O.HARK_TRANSCRIPTS.>"),
            ("$JS.ACK.HARK_AUDIO.hark_inbox.1.2.3.4.5", "$JS.ACK.>"),
            ("hark.eventual", "hark.eventual"),
        ] {
            let words = format!("nats: Permissions Violation for Publish to \"{subject}\"");
            assert_eq!(Right::named_in(&words, "hark").unwrap().to_string(), format!("publish to {right}"));
        }
        let control = "Permissions Violation for Subscription to \"hark.control.plugins.enable\"";
        assert_eq!(
            Right::named_in(control, "hark").unwrap().to_string(),
            "subscribe to hark.control.plugins.enable"
        );
        assert_eq!(Right::named_in("maximum connections exceeded", "hark"), None);
    }
}
