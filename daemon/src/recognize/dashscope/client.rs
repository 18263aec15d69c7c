//! The API: its address, its key, and answers that are read, refused, or contrary to the protocol.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use super::answers::Refused;
use super::codes::Refusal;
use super::lenient;
use crate::config::Dashscope;
use crate::job::Fate;
use crate::recognize::error::{Error, When};
use crate::recognize::http::{
    BuildError, FREE_CALL, Http, JSON, Key, Outgoing, Timeouts, retry_after, unanswered,
};
use crate::recognize::pacer::{Calls, Rate};

/// Longest JSON answer of the API; a transcript of five minutes has some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The API of one account.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) http: Http,
    pub(super) key: Arc<Key>,
    /// The pace of task queries and lists.
    pub(super) queries: Calls,
    /// The pace of upload policies: that of the submits, which follow them.
    pub(super) policies: Calls,
    /// Up to and including `/api/v1`.
    base: String,
}

impl Client {
    pub(super) fn new(config: &Dashscope, key: Key, timeouts: Timeouts) -> Result<Client, BuildError> {
        let base = config.base_url();
        let address = Url::parse(&base).ok();
        let host = address.as_ref().and_then(Url::host_str);
        // A proxy leads to no service on this machine.
        let is_local = matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"));
        Ok(Client {
            http: Http::new(base.starts_with("http:"), !is_local, timeouts)?,
            key: Arc::new(key),
            queries: Calls::new(Rate::per_second(config.task_queries_per_second)),
            policies: Calls::new(Rate::per_minute(config.requests_per_minute)),
            base,
        })
    }

    /// A POST of the API that costs, without its body yet; `accept` is the wanted form of the answer.
    pub(super) fn post(&self, path: &str, accept: &'static str) -> RequestBuilder {
        let call = self.http.fresh.post(format!("{}{path}", self.base));
        self.key.authorize(call).header(CONTENT_TYPE, JSON).header(ACCEPT, accept)
    }

    /// A GET of the API, with its own time limit.
    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        let call = self.http.pooled.get(format!("{}{path}", self.base));
        self.key.authorize(call).timeout(FREE_CALL)
    }

    /// A POST of the API that costs nothing and has no body, with its own time limit.
    pub(super) fn command(&self, path: &str) -> RequestBuilder {
        let call = self.http.pooled.post(format!("{}{path}", self.base));
        self.key.authorize(call).timeout(FREE_CALL)
    }

    /// Sends a request that costs.
    ///
    /// # Errors
    /// The service's refusal, or that no answer came.
    pub(super) async fn send(&self, call: RequestBuilder, body: Outgoing) -> Result<Response, Error> {
        self.unless_refused(self.http.send(call, body).await?).await
    }

    /// The answer to a request that costs.
    ///
    /// # Errors
    /// The service's refusal; or an answer that broke off or cannot be read, with [`Error::raw`].
    pub(super) async fn answer<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let mut body = Vec::new();
        let answer = self.read(response, &mut body).await;
        answer.map_err(|error| if error.fate == Fate::Open { error.with_raw(body) } else { error })
    }

    /// The answer to a call that costs nothing; an unreadable answer is not kept.
    ///
    /// # Errors
    /// The errors of [`Client::answer`], or that no answer came.
    pub(super) async fn free<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<T, Error> {
        let response = self.unless_refused(call.send().await.map_err(unanswered)?).await?;
        self.read(response, &mut Vec::new()).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        mut response: Response,
        body: &mut Vec<u8>,
    ) -> Result<T, Error> {
        self.http.body(&mut response, body, MAX_ANSWER_BYTES).await?;
        self.parse(body, None)
    }

    /// Reads JSON of the API. `status`: the status that an event of a stream carries, which may differ from that of the answer.
    ///
    /// # Errors
    /// The refusal, or that it cannot be read.
    pub(super) fn parse<T: DeserializeOwned>(&self, json: &[u8], status: Option<u16>) -> Result<T, Error> {
        if let Some(error) = self.refused(json, status, None) {
            return Err(error);
        }
        serde_json::from_slice(json)
            .map_err(|error| Error::not_parsed("the service's answer is not as it is documented", &error))
    }

    /// The answer, or the error that its status stands for.
    ///
    /// # Errors
    /// The service's refusal.
    pub(super) async fn unless_refused(&self, mut response: Response) -> Result<Response, Error> {
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, hint) = (response.status().as_u16(), retry_after(response.headers()));
        let mut body = Vec::new();
        self.http.body(&mut response, &mut body, MAX_ANSWER_BYTES).await?;
        match self.refused(&lenient::refusal(&body), Some(status), hint) {
            Some(error) => Err(error),
            None => Ok(response),
        }
    }

    /// The refusal that an answer or an event carries: a code, whatever its status, or a status other than 2xx.
    pub(super) fn refused(&self, json: &[u8], status: Option<u16>, hint: Option<Duration>) -> Option<Error> {
        let Refused { code, message } = serde_json::from_slice(json).unwrap_or_default();
        let code = code.filter(|code| !code.is_empty());
        if code.is_none() && status.is_none_or(|status| (200..300).contains(&status)) {
            return None;
        }
        let (code, message) = (code.as_deref(), message.as_deref().unwrap_or_default());
        Some(self.key.masked(Refusal { status, code, message, hint }.into_error()))
    }

    /// A daemon that only polls tasks sends no request that could probe, so the key's file is read again as soon as the old key is refused.
    pub(super) async fn reread_if_refused<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error { when: When::Held { .. }, .. }) = &outcome {
            self.key.reread().await;
        }
        outcome
    }
}
