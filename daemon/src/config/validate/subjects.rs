//! Subjects: if two consumers received the same message, the recording would be paid for twice.

use crate::config::Config;
use crate::config::report::Report;

pub(super) fn subjects(config: &Config, report: &mut Report<'_>) {
    let own = format!("{}.event.>", config.nats.subject_prefix);
    let intakes: Vec<_> = super::intakes(config).collect();
    for (position, (path, source)) in intakes.iter().enumerate() {
        let path = format!("{path}.subject");
        if !is_filter(&source.subject) {
            report.mistake(&path, no_subject("subject", &source.subject));
            continue;
        }
        if overlap(&source.subject, &own) {
            let text = format!(
                "subject = {:?} would also match the daemon's own events on {own:?}; choose another",
                source.subject
            );
            report.mistake(&path, text);
        }
        let other = intakes[..position].iter().find(|(_, other)| overlap(&source.subject, &other.subject));
        if let Some((_, other)) = other {
            let text = format!(
                "subject = {:?} overlaps {:?} of source {:?}: a message on both would be recognized and paid for twice; \
                 make them differ",
                source.subject, other.subject, other.name
            );
            report.mistake(&path, text);
        }
    }
    for (path, source) in &intakes {
        if !source.stream.is_empty() && !is_stream(&source.stream) {
            report.mistake(
                &format!("{path}.stream"),
                format!("stream = {:?} is not a stream's name", source.stream),
            );
        }
        for (position, bucket) in source.allow_buckets.iter().enumerate() {
            if !is_bucket(bucket) {
                report.mistake(
                    &format!("{path}.allow_buckets.{position}"),
                    format!("{bucket:?} is not a bucket's name: letters, digits, _ and - make one"),
                );
            }
        }
    }
    for (path, name) in
        [("nats.events_stream", &config.nats.events_stream), ("nats.audio_stream", &config.nats.audio_stream)]
    {
        if !is_stream(name) {
            report.mistake(
                path,
                format!("{path} = {name:?} is not a stream's name: letters, digits, _ and - make one"),
            );
        }
    }
    let domain = &config.nats.jetstream_domain;
    if !domain.is_empty() && !is_stream(domain) {
        report.mistake(
            "nats.jetstream_domain",
            format!("nats.jetstream_domain = {domain:?} is not a domain's name, such as \"hub\": it has no dots, spaces or wildcards"),
        );
    }
    if config.nats.events_stream == config.nats.audio_stream {
        report.mistake(
            "nats.audio_stream",
            "nats.audio_stream and nats.events_stream are the same; they must differ",
        );
    }
    let prefix = &config.nats.subject_prefix;
    if !is_filter(prefix) || prefix.contains(['*', '>']) {
        report.mistake(
            "nats.subject_prefix",
            no_subject("nats.subject_prefix", prefix) + ", and a prefix has no wildcards",
        );
    }
}

fn no_subject(key: &str, subject: &str) -> String {
    format!(
        "{key} = {subject:?} is no subject; write words with dots between them and no white space, as in \"hark.audio.inbox\": > may \
         only stand at the end, and what begins with $ is NATS's own"
    )
}

/// Whether any subject matches both filters.
fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
            _ => return false,
        }
    }
}

/// Whether NATS accepts this as a subject with wildcards.
fn is_filter(subject: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control());
    // NATS keeps its own subjects below $.
    !subject.starts_with('$')
        && subject.split('.').all(is_word)
        && !subject.strip_suffix('>').unwrap_or(subject).contains('>')
}

fn is_stream(name: &str) -> bool {
    let bad = |letter: char| letter.is_whitespace() || letter.is_control() || ".*>/\\".contains(letter);
    !name.is_empty() && !name.contains(bad)
}

/// Whether NATS takes this as the name of an object bucket.
fn is_bucket(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::{is_filter, overlap};

    #[test]
    fn two_filters_overlap_when_one_subject_matches_both() {
        for (a, b, expected) in [
            ("hark.audio.inbox", "hark.audio.inbox", true),
            ("hark.audio.inbox", "hark.audio.other", false),
            ("hark.audio.*", "hark.audio.inbox", true),
            ("hark.audio.*", "hark.audio.inbox.deep", false),
            ("hark.audio.>", "hark.audio.inbox.deep", true),
            ("hark.audio.>", "hark.audio", false),
            ("hark.*.inbox", "hark.audio.*", true),
            ("hark.*.inbox", "hark.*.other", false),
            (">", "anything", true),
            ("*.audio", "hark.>", true),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} and {b}");
            assert_eq!(overlap(b, a), expected, "{b} and {a}");
        }
    }

    #[test]
    fn refuses_what_nats_refuses() {
        for subject in ["", "a..b", ".a", "a.", "a b", "a.>.b", "$JS.API.>"] {
            assert!(!is_filter(subject), "{subject:?}");
        }
        for subject in ["a", "a.*.c", "a.>", ">", "*"] {
            assert!(is_filter(subject), "{subject:?}");
        }
    }
}
