//! Alibaba Cloud Model Studio (DashScope): `flash` and `filetrans`, which share an account. All code that is specific to this provider is here.

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
mod task;
mod transcript;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use hark_sdk::event::{Blame, Engine};

use self::client::Client;
pub(super) use self::examine::examine;
use self::filetrans::Filetrans;
use self::flash::Flash;
use self::search::Search;
use super::http::{Key, Timeouts};
use super::pacer::{Pacer, Rate};
use super::{Bucket, Profile, Recognizer};
use crate::config::{Config, Dashscope, Model, Secret, Storage};
use crate::job::fault;
use crate::telemetry::metrics::Metrics;

/// Uploads of filetrans under way at a time; each streams from disk.
const UPLOADS: usize = 8;

/// The recognizers of one account, and what they were built of.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// In the order in which `auto` prefers them.
    pub(super) recognizers: [Arc<dyn Recognizer>; 2],
    client: Arc<Client>,
    pacers: [Arc<Pacer>; 2],
    key: Secret,
    key_file: Option<PathBuf>,
    config: Dashscope,
    storage: Storage,
}

impl Service {
    /// The service of a config. With the same address as `before` it is the same account: requests that are under way and those that come
    /// share its rate. A recognizer that the config leaves as it was is the same one.
    ///
    /// # Errors
    /// A sentence: the bucket cannot be used, or there are no root certificates.
    pub(super) fn of_config(
        config: &Config,
        key: Secret,
        before: Option<&Service>,
        metrics: &Metrics,
        timeouts: Timeouts,
    ) -> Result<Service, String> {
        let (storage, config) = (config.storage.clone(), config.dashscope.clone());
        let key_file = config.api_key_path();
        let before = before.filter(|before| before.config.base_url() == config.base_url());
        let (client, pacers) = match before {
            Some(before) => (Arc::clone(&before.client), before.pacers.clone()),
            None => {
                let key = Key::new(key.clone(), key_file.clone());
                let client = Client::new(&config, key, timeouts).map_err(|error| error.to_string())?;
                let rate = Rate::per_minute(config.requests_per_minute);
                let pacer = |engine: Engine| {
                    let key = Some(Arc::clone(&client.key));
                    Pacer::new(engine.as_str(), rate.clone(), key, metrics.clone())
                };
                let pacers = [pacer(Engine::FLASH), pacer(Engine::FILETRANS)];
                (Arc::new(client), pacers)
            }
        };
        let has_bucket = !storage.url.is_empty();
        let profiles = profiles(&config, has_bucket);
        let is_same = |before: &&Service| {
            before.storage == storage && self::profiles(&before.config, has_bucket) == profiles
        };
        let recognizers = match before.filter(is_same) {
            Some(before) => before.recognizers.clone(),
            None => {
                let bucket = Bucket::of_config(&storage, metrics, timeouts)?;
                build(&client, bucket, &pacers, profiles)
            }
        };
        Ok(Service { recognizers, client, pacers, key, key_file, config, storage })
    }

    /// Puts the rates and the key of this config in force. The recognizers of the previous config share both.
    pub(super) fn take_effect(&self) {
        let rate = Rate::per_minute(self.config.requests_per_minute);
        self.client.policies.reconfigure(&rate);
        self.client.queries.reconfigure(&Rate::per_second(self.config.task_queries_per_second));
        self.client.key.replace(self.key.clone(), self.key_file.clone());
        self.pacers.iter().for_each(|pacer| pacer.reconfigure(&rate));
    }

    /// Whether both use the same address and the same bucket.
    pub(super) fn has_places_of(&self, other: &Service) -> bool {
        Arc::ptr_eq(&self.client, &other.client) && self.storage == other.storage
    }
}

fn build(
    client: &Arc<Client>,
    bucket: Option<Bucket>,
    [of_flash, of_filetrans]: &[Arc<Pacer>; 2],
    [flash, filetrans]: [Profile; 2],
) -> [Arc<dyn Recognizer>; 2] {
    let flash = Flash { client: Arc::clone(client), pacer: Arc::clone(of_flash), profile: flash };
    let filetrans = Filetrans {
        client: Arc::clone(client),
        bucket,
        search: Search::default(),
        pacer: Arc::clone(of_filetrans),
        profile: filetrans,
    };
    [Arc::new(flash), Arc::new(filetrans)]
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
