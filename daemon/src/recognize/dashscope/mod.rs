//! Alibaba Cloud Model Studio (DashScope): `flash` and `filetrans`, which share an account. All code that is specific to this provider is
//! here; dashscope-protocol.md documents what is sent and read.

mod answers;
mod audio3;
mod client;
mod codes;
mod examine;
mod filetrans;
mod flash;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod lenient;
mod list;
mod qwen3;
mod result;
mod search;
mod transcript;
mod upload;

use std::sync::Arc;

use hark_sdk::event::{Blame, Engine};

use self::client::Client;
pub(super) use self::examine::examine;
use self::filetrans::Filetrans;
use self::flash::Flash;
use self::search::Search;
use super::error::fault;
use super::http::{BuildError, Key, Timeouts};
use super::pacer::{Pacer, Rate};
use super::{Bucket, Profile, Recognizer};
use crate::config::{Dashscope, Model};
use crate::telemetry::metrics::Metrics;

/// Uploads of filetrans under way at a time; each streams from disk.
const UPLOADS: usize = 8;

/// The recognizers of one account, in the order in which `auto` prefers them.
///
/// # Errors
/// There are no root certificates.
pub(super) fn build(
    config: &Dashscope,
    bucket: Option<Bucket>,
    key: Key,
    metrics: &Metrics,
    timeouts: Timeouts,
) -> Result<[Arc<dyn Recognizer>; 2], BuildError> {
    let client = Arc::new(Client::new(config, key, timeouts)?);
    let pacer = |profile: &Profile| {
        Pacer::new(profile.engine.as_str(), Rate::per_minute(config.requests_per_minute), metrics.clone())
    };
    let [flash, filetrans] = profiles(config, bucket.is_some());
    let flash = Flash { client: Arc::clone(&client), pacer: pacer(&flash), profile: flash };
    let search = Search::default();
    let filetrans = Filetrans { client, bucket, search, pacer: pacer(&filetrans), profile: filetrans };
    Ok([Arc::new(flash), Arc::new(filetrans)])
}

/// The profiles of the recognizers. `has_bucket`: `[storage]` names one. In a region that has no model for it, filetrans is unavailable.
pub(super) fn profiles(config: &Dashscope, has_bucket: bool) -> [Profile; 2] {
    const NOT_IN_REGION: &str =
        "the region has no filetrans model; use another region, or name one in dashscope.filetrans_model";
    let flash = Profile {
        engine: Engine::FLASH,
        model: config.flash_model().to_owned(),
        limits: flash::limits(Model::of(config.flash_model()).unwrap_or(Model::QWEN3_FLASH)),
        unavailable: None,
        only_by_name: false,
        concurrency: config.concurrency,
    };
    let model = config.filetrans_model();
    let not_in_region = || fault("FiletransNotInRegion", Blame::Hark, NOT_IN_REGION.into());
    let filetrans = Profile {
        engine: Engine::FILETRANS,
        model: model.unwrap_or_default().to_owned(),
        limits: filetrans::limits(
            model.and_then(Model::of).unwrap_or(Model::QWEN3_FILETRANS),
            has_bucket,
            config.allow_temporary_upload,
        ),
        unavailable: model.is_none().then(not_in_region),
        only_by_name: false,
        concurrency: UPLOADS,
    };
    [flash, filetrans]
}
