//! The API: its address, its key, and answers that are read, refused, or contrary to the protocol.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use super::answers::Refused;
use super::codes::Refusal;
use super::lenient;
use crate::config::Dashscope;
use crate::job::Fate;
use crate::recognize::error::{Error, When};
use crate::recognize::http::{
    self, BuildError, Http, JSON, Key, RetryAfter, Timeouts, retry_after, unanswered,
};
use crate::recognize::pacer::{Calls, Rate};

/// The service's limit of upload policies, per account and model (dashscope-protocol.md 5); it applies alone where the config sets no
/// limit.
const POLICIES_PER_SECOND: u32 = 100;

/// Longest JSON answer of the API; a transcript of five minutes has some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) http: Http,
    pub(super) key: Key,
    /// The pace of task queries and lists.
    pub(super) queries: Calls,
    /// The pace of upload policies.
    pub(super) policies: Calls,
    base: Url,
}

impl Client {
    pub(super) fn new(config: &Dashscope, key: Key, timeouts: Timeouts) -> Result<Client, BuildError> {
        let base = http::address(config.base_url())?;
        let policies = match config.requests_per_minute {
            0 => Rate::per_second(POLICIES_PER_SECOND),
            // As often as submits, which follow the policies: while the service is away, not every recording requests a policy at once.
            submits => Rate::per_minute(submits),
        };
        Ok(Client {
            http: Http::new(&base, timeouts)?,
            key,
            queries: Calls::new(Rate::per_second(config.task_queries_per_second)),
            policies: Calls::new(policies),
            base,
        })
    }

    /// A POST of the API that costs, without its body yet; `accept` is the wanted form of the answer.
    pub(super) fn post(&self, path: &str, accept: &'static str) -> RequestBuilder {
        self.key
            .authorize(self.http.fresh.post(format!("{}{path}", self.base)))
            .header(CONTENT_TYPE, HeaderValue::from_static(JSON))
            .header(ACCEPT, HeaderValue::from_static(accept))
    }

    /// A GET of the API, with its own time limit. Each segment is escaped, so that it stays one segment of the path.
    pub(super) fn get(&self, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        self.key.authorize(self.http.api.get(url)).timeout(self.http.timeouts.call)
    }

    /// The answer to a request that costs.
    ///
    /// # Errors
    /// The service's refusal; or a 2xx answer that broke off or cannot be read, with [`Error::raw`].
    pub(super) async fn answer<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let (raw, read) = self.whole(response).await;
        read.map_err(|error| if error.fate == Fate::Open { error.with_raw(raw) } else { error })
    }

    /// The answer to a call that costs nothing; an unreadable answer is not kept.
    ///
    /// # Errors
    /// The errors of [`Client::answer`], or that no answer came.
    pub(super) async fn free<T: DeserializeOwned>(&self, call: RequestBuilder) -> Result<T, Error> {
        self.whole(call.send().await.map_err(unanswered)?).await.1
    }

    /// An answer, and its bytes if its status was 2xx.
    async fn whole<T: DeserializeOwned>(&self, mut response: Response) -> (Vec<u8>, Result<T, Error>) {
        let mut body = Vec::new();
        if !response.status().is_success() {
            return (body, Err(self.refusal(response).await));
        }
        let retry = retry_after(response.headers());
        let whole = self.http.body(&mut response, &mut body, MAX_ANSWER_BYTES).await;
        let read = whole.and_then(|()| self.read(&body, None, retry));
        (body, read)
    }

    /// Reads JSON of the API; an answer with a `code` is a refusal.
    ///
    /// # Errors
    /// The refusal, or that it cannot be read.
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        json: &[u8],
        status: Option<u16>,
        retry: RetryAfter,
    ) -> Result<T, Error> {
        if let Some(error) = self.refused(json, status, retry) {
            return Err(error);
        }
        // The parser's message could quote the transcript.
        serde_json::from_slice(json).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            Error::unreadable(&format!("the service's answer is not as it is documented ({place})"))
        })
    }

    /// The error of an answer with a status other than 2xx.
    pub(super) async fn refusal(&self, mut response: Response) -> Error {
        let (status, retry) = (response.status().as_u16(), retry_after(response.headers()));
        let http::Partial { body, broken } = self.http.refusal(&mut response).await;
        if let Some(error) = self.refused(&lenient::refusal(&body), Some(status), retry) {
            return error;
        }
        let message = format!(
            "HTTP status {status} without a code; is dashscope.base_url right, and is a gateway in between?"
        );
        let error = Refusal { status: Some(status), code: None, message: &message, retry }.into_error();
        match broken {
            // The lost part may have named the account's arrears; a refused request may be repeated free of charge.
            Some(broken) if error.when == When::Never => {
                let mut error = Error { when: When::PASSED, ..error };
                error.fault.message = format!("HTTP status {status}, and {}", broken.fault.message);
                error
            }
            _ => error,
        }
    }

    /// The refusal that an answer carries in its body, whatever its status.
    fn refused(&self, json: &[u8], status: Option<u16>, retry: RetryAfter) -> Option<Error> {
        let Refused { code, message } = serde_json::from_slice(json).ok()?;
        let code = code.filter(|code| !code.is_empty())?;
        let message = message.unwrap_or_default();
        let refusal = Refusal { status, code: Some(&code), message: &message, retry };
        Some(self.key.masked(refusal.into_error()))
    }
}

/// The error of an answer that lacks a field of the protocol.
pub(super) fn missing(what: &str) -> Error {
    Error::unreadable(&format!("the service's answer has no {what}"))
}
