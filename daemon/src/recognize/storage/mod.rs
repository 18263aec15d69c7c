//! A bucket of the operator's own (`[storage]`): a recording is uploaded into it under a unique name, the recognizer gets a signed URL that
//! is valid for a while, and the object is deleted when no task needs it any more.
//!
//! Each request is one signed URL: an upload is a single PUT, of which the bucket keeps nothing if it breaks off, as an upload in parts would.

pub(super) mod refusal;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use hark_sdk::event::Blame;
use reqwest::{Method, Response};

use self::refusal::{MISCONFIGURED, refused};
use super::error::{Error, When};
use super::http::{Content, FREE_CALL, Http, Outgoing, Timeouts, retry_after, unanswered};
use super::pacer::{Pacer, Rate};
use super::{Uploaded, message};
use crate::config::{self, Credentials, Secret, Storage};
use crate::job::fault;
use crate::telemetry::metrics::Metrics;

/// The bucket's name as an engine in metrics and logs; no recognizer can have it.
const LABEL: &str = "[storage]";

/// How long the URL of an upload or a deletion is valid: it is used at once, and clocks differ.
const TO_START: Duration = Duration::from_secs(900);

/// The most bytes of a refusal that are read.
const MAX_REFUSAL_BYTES: usize = 1 << 20;

/// A bucket of the operator's own. It has a queue of its own: while it refuses the keys, one upload at a time is tried, and requests that
/// need no upload go on.
#[derive(Debug)]
pub struct Bucket {
    http: Http,
    pacer: Arc<Pacer>,
    storage: Storage,
    bucket: config::Bucket,
    /// The address of the bucket's objects, up to and including the prefix and a slash.
    base: String,
}

impl Bucket {
    /// The bucket that the config names; `None`: it names none. Connects to nothing yet.
    ///
    /// # Errors
    /// A sentence about what is wrong with the config, or that there are no root certificates.
    pub fn of_config(
        storage: &Storage,
        metrics: &Metrics,
        timeouts: Timeouts,
    ) -> Result<Option<Bucket>, String> {
        let Some(bucket) = storage.bucket().map_err(|(_, text)| text)? else { return Ok(None) };
        storage.credentials()?;
        let http = match bucket.endpoint.scheme() {
            "http" => Http::within(timeouts),
            _ => Http::new(false, true, timeouts),
        };
        let http = http.map_err(|error| error.to_string())?;
        let pacer = Pacer::new(LABEL, Rate::per_minute(0), None, metrics.clone());
        let mut base = bucket.endpoint.as_str().trim_end_matches('/').to_owned();
        for part in [&bucket.name].into_iter().filter(|_| !bucket.is_virtual).chain([&bucket.prefix]) {
            if !part.is_empty() {
                base = format!("{base}/{part}");
            }
        }
        base.push('/');
        Ok(Some(Bucket { http, pacer, storage: storage.clone(), bucket, base }))
    }

    /// The address of an object of this name, without a signature.
    pub(super) fn object(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// Whether an object is of this bucket, at this address.
    pub(super) fn has(&self, object: &str) -> bool {
        self.name_of(object).is_some()
    }

    fn name_of<'a>(&self, object: &'a str) -> Option<&'a str> {
        object.strip_prefix(self.base.as_str())
    }

    /// Streams a file into the bucket. Returns a signed URL of it, once the bucket has the whole file and the file has proved to be unchanged.
    pub(super) async fn upload(&self, content: Content, name: &str) -> Result<Uploaded, Error> {
        let permit = self.pacer.admission().await;
        let stored = permit.settle(self.store(content, name).await);
        stored?;
        let url = self.sign(Method::GET, name, self.storage.presign).await?;
        // The service has to be able to fetch it for a while after it was submitted.
        Ok(Uploaded { url: Secret::new(&url), fresh_for: self.storage.presign / 2 })
    }

    async fn store(&self, content: Content, name: &str) -> Result<(), Error> {
        let url = self.sign(Method::PUT, name, TO_START).await?;
        let sent = self.http.send(self.http.fresh.put(url), Outgoing::raw(content, None)).await;
        self.unless_refused(sent.map_err(|error| self.named(error))?).await
    }

    /// Deletes an object; one that is not there counts as deleted.
    pub(super) async fn discard(&self, object: &str) -> Result<(), Error> {
        let name = self.name_of(object).unwrap_or_default();
        let url = self.sign(Method::DELETE, name, TO_START).await?;
        let sent = self.http.pooled.delete(url).timeout(FREE_CALL).send().await;
        self.unless_refused(sent.map_err(|error| self.named(unanswered(error)))?).await
    }

    async fn unless_refused(&self, mut response: Response) -> Result<(), Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let hint = retry_after(response.headers());
        let mut body = Vec::new();
        self.http
            .body(&mut response, &mut body, MAX_REFUSAL_BYTES)
            .await
            .map_err(|error| self.named(error))?;
        let xml = String::from_utf8_lossy(&body);
        let place = format!("bucket {} at {}", self.bucket.name, self.host());
        Err(refused(status.as_u16(), &xml, hint, &place)).map_err(|error| self.masked(error))
    }

    fn host(&self) -> &str {
        self.bucket.endpoint.host_str().unwrap_or_default()
    }

    /// Prefixes an error of the network with the address of the bucket, so that the operator sees what it is about.
    fn named(&self, mut error: Error) -> Error {
        if error.fault.blame == Blame::Service {
            let about = format!("the bucket of [storage] at {}: ", self.host());
            error.fault.message.insert_str(0, &about);
        }
        error
    }

    /// Without the keys, in case the server echoed them.
    fn masked(&self, mut error: Error) -> Error {
        if let Ok(Credentials { access_key_id, secret_access_key, session_token }) =
            self.storage.credentials()
        {
            for key in [Some(access_key_id), Some(secret_access_key), session_token].into_iter().flatten() {
                error.fault.message = error.fault.message.replace(key.reveal(), "***");
            }
        }
        error
    }
}

/// The config, or what it names, has to be changed before another request can succeed.
fn misconfigured(text: &str) -> Error {
    let message = message::presentable(text);
    Error { when: When::HELD, ..Error::give_up(fault(MISCONFIGURED, Blame::Hark, message)) }
}
