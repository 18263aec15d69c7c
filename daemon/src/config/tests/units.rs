use std::time::Duration;

use proptest::prelude::*;

use crate::config::{parse_duration, parse_size, show_duration, show_size};

proptest! {
    #[test]
    fn every_duration_reads_back_as_itself(millis in 0u64..=u64::MAX / 2) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
    }

    #[test]
    fn whole_days_are_shown_as_days(days in 1u64..100_000) {
        prop_assert_eq!(show_duration(Duration::from_secs(days * 86_400)), format!("{days}d"));
    }

    #[test]
    fn every_size_reads_back_as_itself(bytes: u64) {
        prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
    }

    #[test]
    fn sizes_in_units_read_back_as_themselves(number in 0u64..1 << 20, unit in 0usize..5) {
        let text = format!("{number}{}", ["B", "KiB", "MiB", "GiB", "TiB"][unit]);
        prop_assert_eq!(parse_size(&text), Ok(number << (10 * unit)));
    }

    #[test]
    fn nothing_that_is_written_makes_the_parsers_panic(text: String) {
        let _ = (parse_duration(&text), parse_size(&text));
    }
}

#[test]
fn refuses_what_has_no_unit_or_two() {
    for text in
        ["", "2", "s", "1.5s", "-2s", "2 weeks", "1h30m", "99999999999999999999s", "18446744073709551615d"]
    {
        assert!(parse_duration(text).is_err(), "{text:?}");
    }
    for text in ["", "10", "10MB", "10mib", "1.5GiB", "-1B", "16777216TiB"] {
        assert!(parse_size(text).is_err(), "{text:?}");
    }
}
