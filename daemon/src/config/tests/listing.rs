//! The listing of mistakes, as the operator sees it.

use super::{inspect, mistake, mistakes};
use crate::config::schema::Schema;
use figment::value::Value;

#[test]
fn lists_every_mistake_at_once_with_line_and_nearest_key() {
    let listing = mistakes(include_str!("mistakes.toml")).join("\n");
    assert_eq!(listing, include_str!("mistakes.golden").trim_end());
}

#[test]
fn a_text_that_is_not_toml_is_shown_where_it_breaks_and_nowhere_else() {
    let broken = "[dashscope]\nregion = \"us\nconcurrency = 3\n[nats\n[log]\nlevle = \"info\"\n";
    assert_eq!(mistake(broken), "harkd.toml:2:13: this is not TOML: invalid basic string, expected `\"`");
    let colons = "[[source]]\nname: calls\nkind: directory\n";
    assert!(mistake(colons).starts_with("harkd.toml:2:"), "{}", mistake(colons));
}

#[test]
fn a_list_that_is_not_closed_is_named_where_it_begins() {
    let open = "[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv/calls\"\ninclude = [\"**/*.wav\", \"**/*.mp3\"\n\n\
                [[plugin]]\nname = \"keywords\"\nlibrary = \"keyword_alert\"\n";
    assert_eq!(
        mistake(open),
        "harkd.toml:7:1: this is not TOML: missing comma between array elements, expected `,`; \
         the list that begins in line 5 may lack its `]`"
    );
}

#[test]
fn what_the_parser_cannot_know_is_said_beside_its_words() {
    let escape = "[[plugin]]\nname = \"k\"\nlibrary = \"k\"\nconfig = { regex = [\"\\d{4}\"] }\n";
    assert!(mistake(escape).starts_with("harkd.toml:4:"), "{}", mistake(escape));
    assert!(mistake(escape).ends_with("; a backslash is only a backslash in 'single quotes'"));
    let pasted = mistake("[log]\nlevel = “info”\n");
    assert!(pasted.starts_with("harkd.toml:2:9: "), "{pasted}");
    assert!(pasted.ends_with("; “ is no quotation mark here, write \""), "{pasted}");
}

#[test]
fn an_element_without_its_second_brackets_is_looked_at_as_well() {
    let inspection =
        inspect("[source]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv\"\nsetle = \"2s\"\n");
    let lines: Vec<String> =
        inspection.mistakes.lines().map(|(place, text)| format!("{place}: {text}")).collect();
    assert_eq!(
        lines,
        [
            "harkd.toml:1:2: there may be several of \"source\"; write [[source]]",
            "harkd.toml:5:1: unknown key \"setle\" in [[source]]; did you mean \"settle\"?"
        ]
    );
    assert!(!inspection.config.warnings().iter().any(|warning| warning.contains("there is no [[source]]")));
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

/// The listing is derived from the types; this test checks that it knows each of their keys.
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
