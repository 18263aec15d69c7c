//! What an answer means before anybody looks into it: JSON, a refusal, or something that broke off.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::client::{Client, causes, patience};
use super::error::{Error, Verdict};
use super::json;
use super::sse::Parser;
use super::verdict::{Refusal, means_success};

/// Longest JSON answer of the API; a transcript of five minutes has some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// How much of a refusal is read for its code.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

impl Client {
    /// The next piece of an answer's body; `None` at its end.
    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Error> {
        tokio::select! {
            biased;
            chunk = response.chunk() => chunk.map_err(|error| {
                Error::unknown("ConnectionLost", &format!("the answer broke off: {}", causes(error)))
            }),
            () = patience(self.timeouts().idle) => {
                let seconds = self.timeouts().idle.as_secs();
                Err(Error::unknown("TimeOut", &format!("the answer stood still for {seconds} s")))
            }
        }
    }

    /// A JSON answer of the API, or the refusal that it is.
    ///
    /// # Errors
    /// The refusal, or [`Verdict::Unknown`] for a 200 that cannot be read.
    pub(crate) async fn json(&self, response: Response) -> Result<Value, Error> {
        let (answer, headers) = self.value(response).await?;
        match refusal_in(&answer, Some(&headers), None) {
            Some(error) => Err(self.masked(error)),
            None => Ok(answer),
        }
    }

    /// As [`Client::json`], where a code in the answer may be something else's than the call's.
    pub(crate) async fn value(&self, response: Response) -> Result<(Value, HeaderMap), Error> {
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        self.whole(response, Vec::new()).await
    }

    /// As [`Client::value`], of an answer of 2xx whose body has begun with this.
    pub(crate) async fn whole(
        &self,
        mut response: Response,
        begun: Vec<u8>,
    ) -> Result<(Value, HeaderMap), Error> {
        let headers = std::mem::take(response.headers_mut());
        let body = self.body(&mut response, begun, MAX_ANSWER_BYTES).await?;
        let answer = json::value(&body)
            .map_err(|error| Error::unreadable(&format!("the service's answer is no JSON: {error}")))?;
        Ok((answer, headers))
    }

    /// What an answer other than 2xx means.
    pub(crate) async fn refusal(&self, mut response: Response) -> Error {
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let (body, broken) = self.as_much_as_comes(&mut response).await;
        let answer = json::value(&body).ok().or_else(|| event_in(&body));
        if let Some(error) = answer.and_then(|answer| refusal_in(&answer, Some(&headers), Some(status))) {
            return self.masked(error);
        }
        let message = format!(
            "HTTP status {status} without a code; is dashscope.base_url right, and is a gateway in between?"
        );
        let (hint, should_retry) = wishes(Some(&headers));
        let refusal = Refusal { status: Some(status), code: None, message: &message, hint, should_retry };
        let error = Error::refused(&refusal);
        match broken {
            // What it would have said may be that the account is in arrears; a refused request is free to repeat.
            Some(broken) if error.verdict == Verdict::GiveUp => Error::again(
                &error.fault.code,
                &format!("HTTP status {status}, and {}", broken.fault.message),
            ),
            _ => error,
        }
    }

    /// What a host other than the API says to a request that it refuses; as much as there is of it.
    pub(crate) async fn refusal_text(&self, mut response: Response) -> String {
        String::from_utf8_lossy(&self.as_much_as_comes(&mut response).await.0).into_owned()
    }

    /// The body of a refusal, and why it is not all of it.
    async fn as_much_as_comes(&self, response: &mut Response) -> (Vec<u8>, Option<Error>) {
        let mut body = Vec::new();
        while body.len() < MAX_REFUSAL_BYTES {
            match self.chunk(response).await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return (body, Some(error)),
            }
        }
        body.truncate(MAX_REFUSAL_BYTES);
        (body, None)
    }

    /// The whole body of an answer that has begun with `body` and is no longer than `limit`.
    pub(crate) async fn body(
        &self,
        response: &mut Response,
        mut body: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<u8>, Error> {
        while let Some(chunk) = self.chunk(response).await? {
            if body.len() + chunk.len() > limit {
                return Err(Error::unreadable(&format!("the service's answer is longer than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The refusal that an answer carries in its body, whatever its status: a `code` that is no word of success, at the top or under `error`.
pub(crate) fn refusal_in(answer: &Value, headers: Option<&HeaderMap>, status: Option<u16>) -> Option<Error> {
    let place = if answer.get("error").is_some_and(Value::is_object) { &answer["error"] } else { answer };
    let code = place.get("code").and_then(Value::as_str).filter(|code| !means_success(code))?;
    let message = ["message", "msg"].iter().find_map(|name| place.get(name)?.as_str()).unwrap_or_default();
    let (hint, should_retry) = wishes(headers);
    Some(Error::refused(&Refusal { status, code: Some(code), message, hint, should_retry }))
}

/// Something in an answer is not where the protocol has it.
pub(crate) fn missing(what: &str) -> Error {
    Error::unreadable(&format!("the service's answer has no {what}"))
}

/// What `usage.seconds` says: an integer by the documents; a fraction is rounded up, as money is. What no recording comes to (less than
/// nothing, more than twelve hours of sixteen channels) is no bill, and says nothing.
pub(crate) fn seconds(value: &Value) -> Option<u64> {
    const MOST: f64 = 16.0 * 12.0 * 3600.0;
    let told = json::number(value)?;
    if !(0.0..=MOST).contains(&told) {
        tracing::warn!(seconds = told, "the service told a usage that cannot be; it is not counted");
        return None;
    }
    Some(told.ceil() as u64)
}

/// When, and whether, the service wants to be asked again.
fn wishes(headers: Option<&HeaderMap>) -> (Option<Duration>, Option<bool>) {
    /// A server that asks for more than this means "not today"; asking then costs one request.
    const LONGEST_HINT: Duration = Duration::from_secs(600);
    let text = |name: &str| headers.and_then(|headers| headers.get(name)?.to_str().ok()).map(str::trim);
    // Fractions are no HTTP, and common all the same.
    let number = |name: &str, unit: f64| {
        let seconds = text(name)?.parse::<f64>().ok().filter(|number| number.is_finite())? * unit;
        Duration::try_from_secs_f64(seconds.min(LONGEST_HINT.as_secs_f64())).ok()
    };
    let millis = number("retry-after-ms", 1e-3);
    let seconds = || number("retry-after", 1.0);
    let date = || {
        let date = jiff::fmt::rfc2822::parse(text("retry-after")?).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO))
    };
    // "At once" is no hint: a queue that believed it would be at the service's door without a pause.
    let hint = millis.or_else(seconds).or_else(date).filter(|hint| !hint.is_zero());
    let hint = hint.map(|hint| hint.min(LONGEST_HINT));
    let should_retry = match text("x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    (hint, should_retry)
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
    use reqwest::header::HeaderName;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hint_is_seconds_milliseconds_or_a_date_and_never_more_than_ten_minutes() {
        let hint = |name: &'static str, text: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), text.parse().unwrap())]);
            wishes(Some(&headers)).0
        };
        assert_eq!(hint("retry-after", " 7 "), Some(Duration::from_secs(7)));
        assert_eq!(hint("retry-after", "0.25"), Some(Duration::from_millis(250)));
        assert_eq!(hint("retry-after-ms", "150"), Some(Duration::from_millis(150)));
        assert_eq!(hint("retry-after", "1e300"), Some(Duration::from_secs(600)));
        assert_eq!(hint("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT"), Some(Duration::from_secs(600)));
        for nonsense in ["-1", "NaN", "soon", "", "0", "Wed, 01 Jan 2020 00:00:00 GMT"] {
            assert_eq!(hint("retry-after", nonsense), None, "{nonsense}");
        }
    }

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
