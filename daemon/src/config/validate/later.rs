//! Keys that are reserved for later versions: only their defaults are accepted, because a key that is accepted without effect misleads the
//! operator.

use crate::config::Config;
use crate::config::report::Report;

/// What to say of a reserved `kind` of `[[source]]`; `None`: it is not reserved.
pub(in crate::config) fn reserved_kind(array: &str, kind: &str) -> Option<String> {
    let is_reserved = array == "source" && kind == "live";
    is_reserved
        .then(|| format!("kind = {kind:?} of [[source]] is not built yet; leave the source out for now"))
}

pub(super) fn later(config: &Config, report: &mut Report<'_>) {
    let mut refuse = |set: bool, path: &str, what: &str| {
        if set {
            report.mistake(path, format!("{what} is not built yet; leave the key out for now"));
        }
    };
    let defaults = Config::default();
    let is_set = config.state.keep_failed != defaults.state.keep_failed;
    refuse(is_set, "state.keep_failed", "state.keep_failed (the audio of failed messages)");
}
