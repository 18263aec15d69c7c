//! The API: its address, its key, and what its answers are before anybody reads their content: JSON, a refusal, or something that broke
//! off.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, Url};
use serde_json::Value;

use super::codes::Refusal;
use super::json;
use crate::recognize::error::{Error, When};
use crate::recognize::http::{self, BuildError, Http, JSON, Key, Timeouts, retry_after, unanswered};
use crate::recognize::sse::Parser;

/// Longest JSON answer of the API; a transcript of five minutes has some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) http: Http,
    pub(super) key: Key,
    base: Url,
}

impl Client {
    pub(super) fn new(base_url: &str, key: Key, timeouts: Timeouts) -> Result<Client, BuildError> {
        let base = http::address(base_url)?;
        Ok(Client { http: Http::new(&base, timeouts)?, key, base })
    }

    /// A POST of the API that costs, body to come; `accept` is the form of answer that is wanted.
    pub(super) fn post(&self, path: &str, accept: &'static str) -> RequestBuilder {
        self.key
            .authorize(self.http.fresh.post(format!("{}{path}", self.base)))
            .header(CONTENT_TYPE, HeaderValue::from_static(JSON))
            .header(ACCEPT, HeaderValue::from_static(accept))
    }

    /// A GET of the API, with its own time limit. What a segment of the path contains stays in that segment.
    pub(super) fn get(&self, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        self.key.authorize(self.http.api.get(url)).timeout(self.http.timeouts.call)
    }

    /// A JSON answer of the API, or the refusal that it is.
    ///
    /// # Errors
    /// The refusal, or a 200 that cannot be read.
    pub(super) async fn json(&self, response: Response) -> Result<Value, Error> {
        let (answer, headers) = self.value(response).await?;
        match refusal_in(&answer, Some(&headers), None) {
            Some(error) => Err(self.key.masked(error)),
            None => Ok(answer),
        }
    }

    /// As [`Client::json`], for a call that costs nothing: what of its answer cannot be read is not worth to be kept.
    pub(super) async fn free(&self, call: RequestBuilder) -> Result<Value, Error> {
        let response = call.send().await.map_err(unanswered)?;
        self.json(response).await.map_err(|error| Error { raw: None, ..error })
    }

    /// As [`Client::json`], where a code in the answer may be something else's than the call's.
    pub(super) async fn value(&self, response: Response) -> Result<(Value, HeaderMap), Error> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        self.whole(response, Vec::new()).await
    }

    /// As [`Client::value`], of an answer of 2xx whose body has begun with this.
    pub(super) async fn whole(
        &self,
        mut response: Response,
        mut body: Vec<u8>,
    ) -> Result<(Value, HeaderMap), Error> {
        let headers = std::mem::take(response.headers_mut());
        self.http.body(&mut response, &mut body, MAX_ANSWER_BYTES).await?;
        match json::value(&body) {
            Ok(answer) => Ok((answer, headers)),
            Err(error) => {
                let message = format!("the service's answer is no JSON: {error}");
                Err(Error::unreadable(&message).with_raw(body))
            }
        }
    }

    /// What an answer other than 2xx means.
    pub(super) async fn refusal(&self, mut response: Response) -> Error {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let http::Partial { body, broken } = self.http.refusal(&mut response).await;
        let answer = json::value(&body).ok().or_else(|| event_in(&body));
        if let Some(error) = answer.and_then(|answer| refusal_in(&answer, Some(&headers), Some(status))) {
            return self.key.masked(error);
        }
        let message = format!(
            "HTTP status {status} without a code; is dashscope.base_url right, and is a gateway in between?"
        );
        let retry = retry_after(&headers);
        let error = Refusal { status: Some(status), code: None, message: &message, retry }.into_error();
        match broken {
            // What it would have said may be that the account is in arrears; a refused request is free to repeat.
            Some(broken) if error.when == When::Never => {
                let mut error = Error { when: When::PASSED, ..error };
                error.fault.message = format!("HTTP status {status}, and {}", broken.fault.message);
                error
            }
            _ => error,
        }
    }
}

/// The refusal that an answer carries in its body, whatever its status: a `code` that is no word of success, at the top or under `error`.
pub(super) fn refusal_in(answer: &Value, headers: Option<&HeaderMap>, status: Option<u16>) -> Option<Error> {
    let place = if answer.get("error").is_some_and(Value::is_object) { &answer["error"] } else { answer };
    let code = place.get("code").and_then(Value::as_str).filter(|code| !super::codes::means_success(code))?;
    let message = ["message", "msg"].iter().find_map(|name| place.get(name)?.as_str()).unwrap_or_default();
    let retry = headers.map(retry_after).unwrap_or_default();
    Some(Refusal { status, code: Some(code), message, retry }.into_error())
}

/// Something in an answer is not where the protocol has it.
pub(super) fn missing(what: &str) -> Error {
    Error::unreadable(&format!("the service's answer has no {what}"))
}

/// What `usage.seconds` says: an integer by the documents; a fraction is rounded up, as money is. What no recording comes to (less than
/// nothing, more than twelve hours of sixteen channels) is no bill, and says nothing.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    const MOST: f64 = 16.0 * 12.0 * 3600.0;
    let told = json::number(value)?;
    if !(0.0..=MOST).contains(&told) {
        tracing::warn!(seconds = told, "the service told a usage that cannot be; it is not counted");
        return None;
    }
    Some(told.ceil() as u64)
}

/// The JSON in the first event of a stream: refusals of a streamed request may come in that form with any status.
fn event_in(body: &[u8]) -> Option<Value> {
    let mut parser = Parser::new();
    let events = parser.push(body).ok()?;
    let event = events.into_iter().next().or_else(|| parser.finish())?;
    json::value(event.data.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_code_that_means_success_refuses_nothing() {
        for code in [
            json!("Success"),
            json!("SUCCESS"),
            json!("OK"),
            json!("200"),
            json!("0"),
            json!(""),
            json!(200),
            json!(null),
        ] {
            for answer in [json!({"code": code, "output": {}}), json!({"error": {"code": code}})] {
                assert!(refusal_in(&answer, None, None).is_none(), "{answer}");
            }
        }
        assert!(refusal_in(&json!({"code": "Successor"}), None, None).is_some());
    }

    #[test]
    fn a_bill_is_whole_seconds_however_they_are_written() {
        let told =
            ["7", "6.1", "\"7\"", "\"6.5\"", "0"].map(|told| seconds(&serde_json::from_str(told).unwrap()));
        assert_eq!(told, [Some(7), Some(7), Some(7), Some(7), Some(0)]);
    }

    #[test]
    fn a_bill_that_cannot_be_is_none() {
        assert_eq!(seconds(&json!(16 * 12 * 3600)), Some(691_200));
        for told in
            [json!("x"), json!("NaN"), json!(null), json!(-3), json!(691_201), json!(1e30), json!(u64::MAX)]
        {
            assert_eq!(seconds(&told), None, "{told}");
        }
    }
}
