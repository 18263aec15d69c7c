//! `[storage]`: the bucket, its address, its keys.

use std::time::Duration;

use crate::config::Config;
use crate::config::report::Report;

/// The longest that a signature of this kind is valid.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// A shorter one may end before the service begins to fetch.
const SHORTEST: Duration = Duration::from_secs(60);

pub(super) fn storage(config: &Config, report: &mut Report<'_>) {
    let storage = &config.storage;
    if !(SHORTEST..=LONGEST).contains(&storage.presign) {
        report.mistake(
            "storage.presign",
            "presign of [storage] is how long a signed URL is valid: \"1m\" at least, \"7d\" at most; \"24h\" is a good value",
        );
    }
    match storage.bucket() {
        Ok(None) => {}
        Ok(Some(_)) => {
            if let Err(text) = storage.credentials() {
                report.mistake("storage.credentials_file", text);
            }
        }
        Err((key, text)) => report.mistake(&format!("storage.{key}"), text),
    }
}
