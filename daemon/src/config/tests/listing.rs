//! The listing of mistakes, as the operator sees it.

use super::{inspect, mistake, mistakes};
use crate::config::fit::embedded;

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

#[test]
fn every_key_is_offered_for_a_slip_of_it() {
    let mut count = 0;
    for (table, keys) in embedded() {
        for key in keys.as_dict().unwrap().keys() {
            let slip = mistake(&format!("[{table}]\n{key}x = 1\n"));
            assert!(slip.ends_with(&format!("did you mean {key:?}?")), "{slip}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}
