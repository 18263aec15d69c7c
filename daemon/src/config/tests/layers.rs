use std::collections::BTreeMap;

use super::valid;
use crate::config::{Config, Inspection, Region, inspect_text};

fn with_variables(text: &str, variables: &[(&str, &str)]) -> Inspection {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    inspect_text("harkd.toml", text, &variables)
}

fn layered(text: &str, variables: &[(&str, &str)]) -> Config {
    with_variables(text, variables).into_result().unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn refused(variable: (&str, &str)) -> String {
    let mistakes = with_variables("", &[variable]).into_result().unwrap_err();
    let lines: Vec<String> = mistakes.lines().map(|(place, text)| format!("{place}: {text}")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

#[test]
fn the_file_lies_over_the_defaults_and_the_environment_over_the_file() {
    let text = "[dashscope]\nregion = \"us\"\nconcurrency = 7\n";
    let config = layered(text, &[("HARK_DASHSCOPE__REGION", "beijing")]);
    assert_eq!(config.dashscope.region, Region::Beijing);
    assert_eq!(config.dashscope.concurrency, 7);
    assert_eq!(config.dashscope.requests_per_minute, 100);
}

#[test]
fn variables_are_read_as_what_their_key_is() {
    let config = layered(
        "",
        &[
            ("HARK_NATS__USER", "12345"),
            ("HARK_NATS__PASSWORD_FILE", "/dev/null"),
            ("HARK_NATS__REPLICAS", "3"),
            ("HARK_NATS__STORE_PARTIALS", "true"),
            ("HARK_NATS__SERVERS", "nats://a:4222, nats://b:4222"),
            ("HARK_NATS__EVENTS_MAX_AGE", "7d"),
            ("HARK_SECURITY__ALLOW_URLS", "[\"127.0.0.1/32\"]"),
            ("HARK_HTTP__LISTEN", ""),
        ],
    );
    assert_eq!(config.nats.user, "12345");
    assert_eq!(config.nats.replicas, 3);
    assert!(config.nats.store_partials);
    assert_eq!(config.nats.servers, ["nats://a:4222", "nats://b:4222"]);
    assert_eq!(config.nats.events_max_age.as_secs(), 7 * 86_400);
    assert_eq!(config.security.allow_urls, ["127.0.0.1/32"]);
    assert_eq!(config.http.listen, "");
}

#[test]
fn variables_without_two_underscores_are_none_of_ours() {
    layered("", &[("HARK_PORT", "tcp://10.0.0.1:80"), ("HARK_SERVICE_HOST", "10.0.0.1"), ("PATH__X", "1")]);
}

#[test]
fn an_unknown_variable_is_an_error_that_names_the_nearest() {
    assert_eq!(
        refused(("HARK_DASHSCOPE__REGOIN", "us")),
        "environment variable HARK_DASHSCOPE__REGOIN: sets no key that there is; did you mean HARK_DASHSCOPE__REGION?"
    );
}

#[test]
fn a_bad_value_names_the_variable() {
    assert_eq!(
        refused(("HARK_NATS__REPLICAS", "three")),
        "environment variable HARK_NATS__REPLICAS: replicas of [nats] must be a whole number, 0 or more, that is not \
         too large"
    );
    let text = refused(("HARK_DASHSCOPE__CONCURRENCY", "0"));
    assert!(text.starts_with("environment variable HARK_DASHSCOPE__CONCURRENCY: "), "{text}");
    let text = refused(("HARK_DASHSCOPE__REGION", "mars"));
    assert!(text.ends_with("there are \"singapore\", \"us\" and \"beijing\""), "{text}");
}

#[test]
fn arrays_of_tables_are_for_the_file_only() {
    assert_eq!(
        refused(("HARK_SOURCE__0__PATH", "/srv")),
        "environment variable HARK_SOURCE__0__PATH: [[source]] cannot be set by the environment; write it into the file"
    );
}

#[test]
fn a_missing_file_says_what_to_do() {
    let mistakes = Config::load(std::path::Path::new("/nowhere/harkd.toml")).unwrap_err().to_string();
    assert!(mistakes.contains("/nowhere/harkd.toml: the configuration file cannot be read"), "{mistakes}");
    assert!(mistakes.contains("--config"), "{mistakes}");
}

#[test]
fn a_route_of_ones_own_named_default_takes_the_place_of_the_implicit_one() {
    let config = valid("[[route]]\nname = \"default\"\nlanguage = \"de\"\n");
    assert_eq!(config.route.len(), 1);
    assert_eq!(config.route("default").unwrap().language, "de");
}
