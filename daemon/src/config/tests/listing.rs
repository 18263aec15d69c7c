//! The listing as people see it.

use super::{mistake, mistakes};
use crate::config::schema::Schema;
use figment::value::Value;

#[test]
fn lists_every_mistake_at_once_with_line_and_nearest_key() {
    let listing = mistakes(include_str!("mistakes.toml")).join("\n");
    assert_eq!(listing, include_str!("mistakes.golden").trim_end());
}

#[test]
fn a_text_that_is_not_toml_is_shown_where_it_breaks() {
    let lines = mistakes("[dashscope]\nregion = \"us\nconcurrency = 3\n[nats\n[log]\nlevle = \"info\"\n");
    assert!(
        lines.iter().any(|line| line.starts_with("harkd.toml:2:") && line.contains("not TOML")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("harkd.toml:4:") && line.contains("not TOML")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line.contains("did you mean \"level\"")), "{lines:#?}");
}

#[test]
fn a_key_of_another_table_is_sent_home() {
    assert_eq!(
        mistake("[nats]\nlisten = \"\"\n"),
        "harkd.toml:2:1: unknown key \"listen\" in [nats]; it belongs into [http]"
    );
    assert_eq!(
        mistake("region = \"us\"\n"),
        "harkd.toml:1:1: key \"region\" stands above every table; it belongs into [dashscope]"
    );
}

#[test]
fn columns_count_characters() {
    assert!(mistake("[log]\nlevel = \"info\" # ä\n\"ä\" = 1\n").starts_with("harkd.toml:3:1: "));
    assert!(mistake("log = { format = \"ö\", level = \"info\" }\n").starts_with("harkd.toml:1:18: "));
}

/// The listing asks the types; this holds that it hears every key of theirs.
#[test]
fn every_key_of_the_types_is_known_to_the_listing() {
    let schema = Schema::new();
    let keys: Vec<(&str, &str)> = schema.keys().collect();
    assert!(keys.len() > 40, "{keys:?}");
    for (table, key) in keys {
        let default = schema.default_of(table, key).unwrap().clone();
        assert_eq!(schema.accepts(table, key, default), Ok(()), "{table}.{key}");
        let slip = format!("{key}x");
        let answer = schema.accepts(table, &slip, Value::from("")).unwrap_err();
        assert!(answer.ends_with(&format!("did you mean {key:?}?")), "{table}.{slip}: {answer}");
    }
}
