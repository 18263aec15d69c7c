//! Durations, and the part of a recording that a rule looks at.

use schemars::JsonSchema;
use serde::Deserialize;

/// A duration in milliseconds, written as `"250ms"`, `"30s"`, `"5m"`, `"12h"` or `"1d"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Duration {
    /// Milliseconds.
    pub ms: u64,
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match milliseconds(&text) {
            Some(ms) => Ok(Duration { ms }),
            None => Err(format!("{text:?} is no duration; write it as \"30s\", \"5m\" or \"250ms\"")),
        }
    }
}

/// The segments that a rule looks at, by where they begin. A segment whose begin was not measured is in no part but [`Window::All`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum Window {
    /// `""`: all of them.
    #[default]
    All,
    /// `"first 30s"`: those that begin before it, in milliseconds.
    First(u64),
    /// `"last 30s"`: those that begin so many milliseconds before the recording's end, or later.
    Last(u64),
    /// `"first 10%"` of the recording's length.
    FirstShare(u64),
    /// `"last 20%"` of the recording's length.
    LastShare(u64),
    /// `"1m..3m"`: those that begin at the first time or later, and before the second; in milliseconds.
    Between(u64, u64),
}

impl Window {
    /// Whether a segment that begins at `begin_ms` is in it. `length_ms`: of the recording; while it is not known, nothing is in a part that
    /// is measured by it.
    pub fn holds(self, begin_ms: Option<u64>, length_ms: Option<u64>) -> bool {
        let begin = match (self, begin_ms) {
            (Window::All, _) => return true,
            (_, Some(begin)) => begin,
            (_, None) => return false,
        };
        match (self, length_ms) {
            (Window::All, _) => true,
            (Window::First(most), _) => begin < most,
            (Window::Between(from, to), _) => (from..to).contains(&begin),
            (_, None) => false,
            (Window::Last(most), Some(length)) => begin >= length.saturating_sub(most),
            (Window::FirstShare(percent), Some(length)) => begin * 100 < length * percent,
            (Window::LastShare(percent), Some(length)) => begin * 100 >= length * (100 - percent),
        }
    }

    /// Whether no segment of any recording can be in it.
    pub fn is_empty(self) -> bool {
        match self {
            Window::All => false,
            Window::First(size) | Window::Last(size) | Window::FirstShare(size) | Window::LastShare(size) => {
                size == 0
            }
            Window::Between(from, to) => from >= to,
        }
    }
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let shape = || {
            format!(
                "{text:?} is no window; write it as \"first 30s\", \"last 30s\", \"first 10%\", \"last 20%\" or \"1m..3m\""
            )
        };
        let text = text.trim();
        if text.is_empty() {
            return Ok(Window::All);
        }
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (milliseconds(from), milliseconds(to));
            return from.zip(to).map(|(from, to)| Window::Between(from, to)).ok_or_else(shape);
        }
        let (side, size) = text.split_once(char::is_whitespace).ok_or_else(shape)?;
        let window = match (side, size.trim().strip_suffix('%')) {
            ("first", Some(share)) => percent(share).map(Window::FirstShare),
            ("last", Some(share)) => percent(share).map(Window::LastShare),
            ("first", None) => milliseconds(size).map(Window::First),
            ("last", None) => milliseconds(size).map(Window::Last),
            _ => None,
        };
        window.ok_or_else(shape)
    }
}

fn percent(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|percent| *percent <= 100)
}

fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    text[..text.len() - unit.len()].parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Result<Window, String> {
        Window::try_from(text.to_owned())
    }

    #[test]
    fn a_window_holds_segments_by_their_begin() {
        for (text, inside, outside) in [
            ("first 30s", &[0, 29_999][..], &[30_000][..]),
            ("last 30s", &[70_000, 99_999], &[69_999, 0]),
            ("last 200s", &[0], &[]),
            ("first 10%", &[0, 9_999], &[10_000]),
            ("last 20%", &[80_000, 100_000], &[79_999]),
            ("1m..90s", &[60_000, 89_999], &[59_999, 90_000]),
            ("", &[0, 100_000], &[]),
        ] {
            let window = window(text).unwrap();
            for begin in inside {
                assert!(window.holds(Some(*begin), Some(100_000)), "{text}: {begin}");
            }
            for begin in outside {
                assert!(!window.holds(Some(*begin), Some(100_000)), "{text}: {begin}");
            }
        }
    }

    #[test]
    fn what_was_not_measured_is_in_no_window() {
        assert!(window("").unwrap().holds(None, None));
        assert!(!window("first 30s").unwrap().holds(None, Some(1)));
        assert!(!window("last 30s").unwrap().holds(Some(1), None));
        assert!(window("first 30s").unwrap().holds(Some(1), None));
    }

    #[test]
    fn a_window_that_cannot_be_read_is_refused_with_its_form() {
        for text in [
            "first",
            "first 30",
            "30s",
            "first 101%",
            "first -1s",
            "1m..",
            "1m...3m",
            "middle 30s",
            "last 99999999999999999d",
        ] {
            assert!(window(text).unwrap_err().contains("is no window"), "{text}");
        }
        assert!(Duration::try_from("5 minutes".to_owned()).is_err());
        assert_eq!(Duration::try_from("5m".to_owned()).unwrap().ms, 300_000);
    }

    #[test]
    fn a_window_that_holds_nothing_says_so() {
        for (text, empty) in [
            ("first 0s", true),
            ("last 0%", true),
            ("3m..1m", true),
            ("1m..1m", true),
            ("1m..2m", false),
            ("", false),
        ] {
            assert_eq!(window(text).unwrap().is_empty(), empty, "{text}");
        }
    }
}
