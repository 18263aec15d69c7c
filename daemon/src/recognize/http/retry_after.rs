//! When, and whether, a server wants a request to be retried: `Retry-After` and similar headers.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

/// The retry headers of a refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RetryAfter {
    /// `Retry-After`, `retry-after-ms`.
    pub(crate) hint: Option<Duration>,
    /// `x-should-retry`.
    pub(crate) should_retry: Option<bool>,
}

/// Reads the retry headers.
pub(crate) fn retry_after(headers: &HeaderMap) -> RetryAfter {
    /// A longer hint is cut to this: retrying earlier than the server wants costs one request.
    const LONGEST_HINT: Duration = Duration::from_secs(600);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    // Fractions are not allowed by HTTP, but common.
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
    // A hint of zero is ignored: a queue that followed it would retry without a pause.
    let hint = millis.or_else(seconds).or_else(date).filter(|hint| !hint.is_zero());
    let hint = hint.map(|hint| hint.min(LONGEST_HINT));
    let should_retry = match text("x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    RetryAfter { hint, should_retry }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn a_hint_is_seconds_milliseconds_or_a_date_and_never_more_than_ten_minutes() {
        let hint = |name: &'static str, text: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), text.parse().unwrap())]);
            retry_after(&headers).hint
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
}
