//! Numbers that would stop the daemon's work, or have no meaning.

use std::time::Duration;

use crate::config::inspect::Report;
use crate::config::{Config, Source};

/// A process that has loaded a Rust library needs a few megabytes before its first event.
const LEAST_PLUGIN_MEMORY: u64 = 8 << 20;

/// A scan of some files takes milliseconds; with a shorter interval the daemon would do little but scan.
const SHORTEST_RESCAN: Duration = Duration::from_secs(1);

/// A sixth of this is the time limit of each answer of the bucket.
const SHORTEST_ACK_WAIT: Duration = Duration::from_secs(1);

/// NATS stores nanoseconds in 63 bits, some 292 years; a round figure below that.
const LONGEST_AGE: Duration = Duration::from_secs(36_500 * 86_400);

pub(super) fn limits(config: &Config, report: &mut Report<'_>) {
    let dashscope = &config.dashscope;
    let at_least_one = [
        ("dashscope.task_queries_per_second", dashscope.task_queries_per_second as usize),
        ("dashscope.concurrency", dashscope.concurrency),
        ("dashscope.filetrans_concurrency", dashscope.filetrans_concurrency),
    ];
    for (path, value) in at_least_one {
        if value == 0 {
            report.mistake(path, format!("{path} = 0 would stop every job; set it to 1 or more"));
        }
    }
    let durations = [
        ("dashscope.poll_interval", dashscope.poll_interval),
        ("nats.events_max_age", config.nats.events_max_age),
    ];
    for (path, value) in durations {
        if value == Duration::ZERO {
            report.mistake(path, format!("{path} must be longer than 0"));
        }
    }
    for (path, value) in
        [("nats.events_max_age", config.nats.events_max_age), ("state.keep", config.state.keep)]
    {
        if value > LONGEST_AGE {
            report.mistake(
                path,
                format!("{path} is more than NATS can count to; set it to \"36500d\" or less"),
            );
        }
    }
    for (path, value) in
        [("nats.events_max_bytes", config.nats.events_max_bytes), ("state.max_size", config.state.max_size)]
    {
        if value == 0 {
            report.mistake(
                path,
                format!("{path} = \"0B\" leaves no room for anything; set it to a size, as in \"10GiB\""),
            );
        }
    }
    for (position, source) in config.source.iter().enumerate() {
        if let Source::Directory(source) = source
            && source.rescan.is_some_and(|rescan| rescan < SHORTEST_RESCAN)
        {
            report.mistake(
                &format!("source.{position}.rescan"),
                "rescan is shorter than a second; leave it \"auto\", or set it to \"1s\" or more",
            );
        }
    }
    if config.nats.ack_wait < SHORTEST_ACK_WAIT || config.nats.ack_wait > LONGEST_AGE {
        report.mistake(
            "nats.ack_wait",
            "nats.ack_wait must be at least \"1s\"; a daemon confirms its messages every third of it",
        );
    }
    if !(1..=5).contains(&config.nats.replicas) {
        report.mistake(
            "nats.replicas",
            "nats.replicas must be 1 to 5, JetStream's limit; 3 outlives the loss of a server",
        );
    }
    if config.state.directory.as_os_str().is_empty() {
        report
            .mistake("state.directory", "state.directory is empty; name the folder that outlives a restart");
    }
    for (index, plugin) in config.plugin.iter().enumerate() {
        let mut refuse = |key: &str, text: String| report.mistake(&format!("plugin.{index}.{key}"), text);
        if plugin.timeout == Duration::ZERO {
            refuse("timeout", format!("timeout of plugin {:?} must be longer than 0", plugin.name));
        }
        if plugin.memory_limit < LEAST_PLUGIN_MEMORY {
            refuse(
                "memory_limit",
                format!(
                    "memory_limit of plugin {:?} is less than a process needs; give it 8MiB or more",
                    plugin.name
                ),
            );
        }
        if plugin.library.is_empty() {
            refuse("library", format!("library of plugin {:?} is empty; name one, or a path", plugin.name));
        }
        let bare = plugin.library.strip_suffix(".so").filter(|name| !name.contains('/'));
        if let Some(name) = bare.map(|name| name.strip_prefix("lib").unwrap_or(name)) {
            let written = &plugin.library;
            refuse(
                "library",
                format!(
                    "library = {written:?} of plugin {:?} is a file's name; write {name:?}, or a path with a slash",
                    plugin.name
                ),
            );
        }
        let is_hash = plugin.sha256.len() == 64 && plugin.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plugin.sha256.is_empty() && !is_hash {
            refuse(
                "sha256",
                format!(
                    "sha256 of plugin {:?} must be 64 hexadecimal digits, as sha256sum prints",
                    plugin.name
                ),
            );
        }
    }
}
