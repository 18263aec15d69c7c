//! Numbers that would stop the daemon's work, or have no meaning.

use std::time::Duration;

use crate::config::Config;
use crate::config::report::Report;

/// A process that has loaded a Rust library needs a few megabytes before its first event.
const LEAST_PLUGIN_MEMORY: u64 = 8 << 20;

/// A scan of some files takes milliseconds; with a shorter interval the daemon would do little but scan.
const SHORTEST_RESCAN: Duration = Duration::from_secs(1);

/// A sixth of this is the time limit of each answer of the bucket.
const SHORTEST_ACK_WAIT: Duration = Duration::from_secs(1);

/// NATS stores nanoseconds in 63 bits, some 292 years; a round figure below that.
const LONGEST_AGE: Duration = Duration::from_secs(36_500 * 86_400);

pub(super) fn limits(config: &Config, report: &mut Report<'_>) {
    let (dashscope, nats, state) = (&config.dashscope, &config.nats, &config.state);
    for (path, is_zero) in [
        ("dashscope.task_queries_per_second", dashscope.task_queries_per_second == 0),
        ("dashscope.concurrency", dashscope.concurrency == 0),
        ("dashscope.filetrans_concurrency", dashscope.filetrans_concurrency == 0),
        ("dashscope.poll_interval", dashscope.poll_interval.is_zero()),
        ("nats.events_max_age", nats.events_max_age.is_zero()),
        ("nats.events_max_bytes", nats.events_max_bytes == 0),
        ("state.max_size", state.max_size == 0),
    ] {
        if is_zero {
            report.mistake(path, format!("{path} must be more than 0"));
        }
    }
    for (path, value) in [("nats.events_max_age", nats.events_max_age), ("state.keep", state.keep)] {
        if value > LONGEST_AGE {
            report.mistake(
                path,
                format!("{path} is more than NATS can count to; set it to \"36500d\" or less"),
            );
        }
    }
    for (path, source) in super::directories(config) {
        if source.rescan.is_some_and(|rescan| rescan < SHORTEST_RESCAN) {
            report.mistake(
                &format!("{path}.rescan"),
                "rescan is shorter than a second; leave it \"auto\", or set it to \"1s\" or more",
            );
        }
    }
    if nats.ack_wait < SHORTEST_ACK_WAIT || nats.ack_wait > LONGEST_AGE {
        report.mistake(
            "nats.ack_wait",
            "nats.ack_wait must be at least \"1s\"; a daemon confirms its messages every third of it",
        );
    }
    if !(1..=5).contains(&nats.replicas) {
        report.mistake(
            "nats.replicas",
            "nats.replicas must be 1 to 5, JetStream's limit; 3 outlives the loss of a server",
        );
    }
    if state.directory.as_os_str().is_empty() {
        report
            .mistake("state.directory", "state.directory is empty; name the folder that outlives a restart");
    }
    for (index, plugin) in config.plugin.iter().enumerate() {
        let mut refuse = |key: &str, text: String| report.mistake(&format!("plugin.{index}.{key}"), text);
        if plugin.timeout.is_zero() {
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
