//! `[[recognizer]]`, and the routes that name one.

use super::{mistake, mistakes, valid};
use crate::config::EngineChoice;

fn recognizer(name: &str, more: &str) -> String {
    format!(
        "[[recognizer]]\nname = {name:?}\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:8000/v1\"\nmodel = \"m\"\n{more}\n"
    )
}

fn route(engine: &str) -> String {
    format!("[[route]]\nname = \"private\"\nengine = {engine:?}\n")
}

#[test]
fn a_route_names_a_recognizer_as_its_engine() {
    let config = valid(&(recognizer("gpu", "") + &route("gpu")));
    assert_eq!(config.route("private").unwrap().engine, EngineChoice::Own("gpu".into()));
    assert_eq!(
        mistake(&(recognizer("gpu", "") + &route("gpv"))),
        "harkd.toml:9:10: engine = \"gpv\" is neither auto, flash or filetrans nor the name of a [[recognizer]]; did you mean \"gpu\"?"
    );
    assert!(mistake(&route("flahs")).ends_with("; did you mean \"flash\"?"));
}

#[test]
fn every_mistake_of_a_recognizer_has_its_line() {
    for (name, more, told) in [
        ("flash", "", "harkd.toml:2:8: \"flash\" is the name of an engine that Hark has itself"),
        ("realtime", "", "harkd.toml:2:8: \"realtime\" is the name of an engine"),
        ("the gpu", "", "harkd.toml:2:8: name = \"the gpu\" of [[recognizer]] must be made of"),
        ("gpu", "piece = \"0s\"", "harkd.toml:6:9: piece of recognizer \"gpu\" is shorter than a second"),
        ("gpu", "concurrency = 0", "harkd.toml:6:15: concurrency = 0 would stop every job"),
        ("gpu", "timeout = \"0s\"", "harkd.toml:6:11: timeout of recognizer \"gpu\" must be longer than 0"),
        (
            "gpu",
            "usd_per_second = -0.1",
            "harkd.toml:6:18: usd_per_second = -0.1 of recognizer \"gpu\" is no price",
        ),
        (
            "gpu",
            "usd_per_second = nan",
            "harkd.toml:6:18: usd_per_second = NaN of recognizer \"gpu\" is no price",
        ),
        ("gpu", "format = \"ogg\"", "harkd.toml:6:10: format = \"ogg\" of [[recognizer]] is not known"),
        (
            "gpu",
            "request = \"chats\"",
            "harkd.toml:6:11: request = \"chats\" of [[recognizer]] is not known; did you mean \"chat\"?",
        ),
        (
            "gpu",
            "concurency = 2",
            "harkd.toml:6:1: unknown key \"concurency\" in [[recognizer]]; did you mean \"concurrency\"?",
        ),
        (
            "gpu",
            "api_key_file = \"/nowhere/key\"",
            "harkd.toml:6:16: the API key's file /nowhere/key is not there; make it, or change api_key_file of recognizer \"gpu\"",
        ),
    ] {
        let found = mistake(&recognizer(name, more));
        assert!(found.starts_with(told), "{found}");
    }
    let twice = mistake(&(recognizer("gpu", "") + &recognizer("gpu", "")));
    assert!(twice.contains(":8:8: another [[recognizer]] is named \"gpu\" already"), "{twice}");
}

#[test]
fn an_address_is_checked_and_what_is_required_is_missed() {
    let with = |url: &str| recognizer("gpu", "").replace("http://127.0.0.1:8000/v1", url);
    for (url, told) in [
        ("127.0.0.1:8000/v1", "is no URL"),
        ("ftp://host/v1", "is not an http or https address"),
        ("http://user:password@host/v1", "carries a user, password or query"),
    ] {
        let found = mistake(&with(url));
        assert!(
            found.starts_with("harkd.toml:4:12: base_url of recognizer \"gpu\" ") && found.contains(told),
            "{found}"
        );
    }
    let empty = mistakes("[[recognizer]]\nname = \"gpu\"\n");
    let lacks = |key: &str| empty.iter().any(|text| text.contains(&format!("[[recognizer]] lacks {key:?}")));
    assert!(["kind", "base_url", "model"].into_iter().all(lacks), "{empty:#?}");
    assert!(mistake(&recognizer("gpu", "").replace("openai", "opanai")).contains("did you mean \"openai\"?"));
}

#[test]
fn dashscope_is_needed_unless_every_route_names_a_recognizer() {
    let folder = |route: &str| {
        format!(
            "[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv/calls\"\nroute = {route:?}\n"
        )
    };
    let own = recognizer("gpu", "") + &route("gpu");
    let needs = |text: &str| valid(text).needs_dashscope();
    assert!(needs("") && needs(&(own.clone() + &folder("default"))));
    assert!(!needs(&(own.clone() + &folder("private"))) && !needs(&own));
    assert!(needs(&(own.clone() + "[[route]]\nname = \"other\"\nengine = \"flash\"\n" + &folder("private"))));
    assert!(!needs(
        &(recognizer("gpu", "") + "[[route]]\nname = \"default\"\nengine = \"gpu\"\n" + &folder("default"))
    ));
}

#[test]
fn what_a_server_of_ones_own_may_not_take_is_warned_of() {
    let warnings = |text: &str| valid(text).warnings();
    let hebrew = |engine: &str| recognizer("gpu", "") + &route(engine) + "language = \"he\"\n";
    let about = |warnings: &[String], word: &str| warnings.iter().any(|warning| warning.contains(word));
    assert!(about(&warnings(&hebrew("flash")), "language \"he\" is not among those that the service lists"));
    assert!(!about(&warnings(&hebrew("gpu")), "language"));
    let elsewhere = recognizer("gpu", "").replace("8000/v1", "8000/api");
    assert!(about(&warnings(&elsewhere), "does not end with /v1"));
}
