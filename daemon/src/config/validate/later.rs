//! Keys that are reserved for later versions: only their defaults are accepted, because a key that is accepted without effect misleads the
//! operator.

use crate::config::Config;
use crate::config::report::Report;

pub(super) fn later(config: &Config, report: &mut Report<'_>) {
    let mut refuse = |set: bool, path: &str, what: &str| {
        if set {
            report.mistake(path, format!("{what} is not built yet; leave the key out for now"));
        }
    };
    refuse(!config.webhook.is_empty(), "webhook", "[[webhook]]");
    for (path, file) in [
        ("http.token_file", &config.http.token_file),
        ("http.tls_cert", &config.http.tls_cert),
        ("http.tls_key", &config.http.tls_key),
    ] {
        refuse(!file.as_os_str().is_empty(), path, &format!("{path} (HTTP beyond loopback)"));
    }
}
