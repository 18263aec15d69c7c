//! When a server wants a request to be retried: `Retry-After` and `retry-after-ms`.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;

/// A longer hint is cut to this: retrying earlier than the server wants costs one request.
const LONGEST_HINT: Duration = Duration::from_secs(600);

/// The wait that a refusal asks for.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    // Fractions are not allowed by HTTP, but common.
    let number =
        |name: &str, unit: f64| Duration::try_from_secs_f64(text(name)?.parse::<f64>().ok()? * unit).ok();
    let date = || {
        let date = jiff::fmt::rfc2822::parse(text("retry-after")?).ok()?.timestamp();
        Duration::try_from(date.duration_since(Timestamp::now())).ok()
    };
    let hint = number("retry-after-ms", 1e-3).or_else(|| number("retry-after", 1.0)).or_else(date)?;
    // A hint of zero is ignored: a queue that followed it would retry without a pause.
    Some(hint.min(LONGEST_HINT)).filter(|hint| !hint.is_zero())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    #[test]
    fn a_hint_is_seconds_milliseconds_or_a_date_and_never_more_than_ten_minutes() {
        let hint = |name: &'static str, text: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), text.parse().unwrap())]);
            retry_after(&headers)
        };
        assert_eq!(hint("retry-after", " 7 "), Some(Duration::from_secs(7)));
        assert_eq!(hint("retry-after", "0.25"), Some(Duration::from_millis(250)));
        assert_eq!(hint("retry-after-ms", "150"), Some(Duration::from_millis(150)));
        assert_eq!(hint("retry-after", "86400"), Some(Duration::from_secs(600)));
        assert_eq!(hint("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT"), Some(Duration::from_secs(600)));
        for nonsense in ["-1", "NaN", "soon", "", "0", "Wed, 01 Jan 2020 00:00:00 GMT"] {
            assert_eq!(hint("retry-after", nonsense), None, "{nonsense}");
        }
    }
}
