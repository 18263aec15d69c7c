//! Alibaba Cloud Model Studio (DashScope): `flash` and `filetrans`, which share an account. All code that is specific to this provider is
//! here; dashscope-protocol.md documents what is sent and read.

mod answers;
mod client;
mod codes;
mod family;
mod filetrans;
mod flash;
mod lenient;
mod list;
mod result;
mod search;
mod silence;
mod transcript;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use hark_sdk::event::{Blame, Engine};

use self::client::Client;
use self::filetrans::Filetrans;
use self::flash::Flash;
use self::search::Search;
use super::error::{Error, When, fault};
use super::http::{BuildError, Key, Timeouts};
use super::pacer::{Pacer, Permit, Rate};
use super::route::Offer;
use super::{Profile, Recognizers};
use crate::config::{Dashscope, Secret};
use crate::telemetry::metrics::Metrics;

/// The state that the recognizers of one account share.
#[derive(Debug)]
struct Account {
    client: Client,
    search: Search,
}

/// Adds the recognizers of the config, in the order in which `auto` prefers them. `key_file`: the file that `key` was read from.
///
/// # Errors
/// `dashscope.base_url` is not an address, or there are no root certificates.
pub(super) fn add_to(
    recognizers: &mut Recognizers,
    config: &Dashscope,
    key: Secret,
    key_file: Option<PathBuf>,
    metrics: &Metrics,
    timeouts: Timeouts,
) -> Result<(), BuildError> {
    let client = Client::new(config, Key::new(key, key_file), timeouts)?;
    let account = Arc::new(Account { client, search: Search::default() });
    let pacer = |name| Pacer::new(name, Rate::per_minute(config.requests_per_minute), metrics.clone());
    let [flash, filetrans] = offers(config);
    let profile = Profile { name: "flash", limits: flash::limits() };
    recognizers.add(Flash { account: Arc::clone(&account), pacer: pacer(profile.name), profile }, flash);
    let limits = filetrans::limits(config.allow_temporary_upload);
    let profile = Profile { name: "filetrans", limits };
    recognizers.add(Filetrans { account, pacer: pacer(profile.name), profile }, filetrans);
    Ok(())
}

/// The offers of the recognizers; the offer of filetrans is an explanation in a region that has no model for it. The recognizer exists even
/// then, for tasks that were created before the region was changed.
pub(super) fn offers(config: &Dashscope) -> [Offer; 2] {
    const NOT_IN_REGION: &str =
        "the region has no filetrans model; use another region, or name one in dashscope.filetrans_model";
    let flash =
        Offer { engine: Engine::FLASH, model: config.flash_model().to_owned(), limits: Ok(flash::limits()) };
    let filetrans = Offer {
        engine: Engine::FILETRANS,
        model: config.filetrans_model().unwrap_or_default().to_owned(),
        limits: match config.filetrans_model() {
            Some(_) => Ok(filetrans::limits(config.allow_temporary_upload)),
            None => Err(fault("FiletransNotInRegion", Blame::Hark, NOT_IN_REGION.into())),
        },
    };
    [flash, filetrans]
}

impl Account {
    /// A permit of one of the account's recognizers. A request that probes whether the account is accepted again uses the newest key.
    async fn permit(&self, pacer: &Arc<Pacer>) -> Permit {
        self.with_newest_key(pacer.permit().await).await
    }

    /// The same for a free call that precedes a paid one.
    async fn admission(&self, pacer: &Arc<Pacer>) -> Permit {
        self.with_newest_key(pacer.admission().await).await
    }

    async fn with_newest_key(&self, permit: Permit) -> Permit {
        if permit.is_probe() {
            self.client.key.reread().await;
        }
        permit
    }

    /// A daemon that only polls tasks sends no request that could probe, so the key's file is read again as soon as the old key is refused.
    async fn reread_if_refused<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if outcome.as_ref().is_err_and(|error| matches!(error.when, When::Held { .. })) {
            self.client.key.reread().await;
        }
        outcome
    }
}
