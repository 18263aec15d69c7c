//! `[[webhook]]`.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{mistake, mistakes, valid};
use crate::config::{Secret, signing_key};

/// The example of the scheme's specification.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret_file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("secret");
    fs::write(&path, text).unwrap();
    path
}

fn webhook(url: &str, secret: &PathBuf, more: &str) -> String {
    format!("[[webhook]]\nname = \"crm\"\nurl = {url:?}\nsecret_file = {secret:?}\n{more}\n")
}

#[test]
fn what_is_required_is_missed() {
    let lacks = mistakes("[[webhook]]\nkinds = [\"job.failed\"]\n");
    for key in ["name", "url", "secret_file"] {
        assert!(lacks.iter().any(|text| text.contains(&format!("[[webhook]] lacks {key:?}"))), "{lacks:#?}");
    }
}

#[test]
fn an_address_is_https_or_private() {
    let folder = tempfile::tempdir().unwrap();
    let secret = secret_file(&folder, SECRET);
    for good in [
        "https://crm.example.com/hark?room=7",
        "https://8.8.8.8/hook",
        "http://127.0.0.1:8080/",
        "http://10.1.2.3/hook",
        "http://[::1]:9/hook",
        "http://crm.internal/hook",
    ] {
        let config = valid(&webhook(good, &secret, ""));
        assert!(!config.warnings().iter().any(|warning| warning.contains("plain http")), "{good}");
    }
    for (bad, told) in [
        ("crm.example.com/hook", "is no URL"),
        ("ftp://crm.example.com/", "is not an http or https address"),
        ("http://8.8.8.8/hook", "is plain http, which is for loopback"),
        ("http://169.254.1.1/hook", "is plain http, which is for loopback"),
        ("http://198.18.0.1/hook", "is plain http, which is for loopback"),
        ("http://[fe80::1]/hook", "is plain http, which is for loopback"),
        ("http://[2606:4700::1]/hook", "is plain http, which is for loopback"),
        ("http://[::ffff:8.8.8.8]/hook", "is plain http, which is for loopback"),
        ("https://me:hidden@crm.example.com/", "carries a user or password"),
    ] {
        let found = mistake(&webhook(bad, &secret, ""));
        assert!(
            found.starts_with("harkd.toml:3:7: url of webhook \"crm\" ") && found.contains(told),
            "{found}"
        );
        assert!(!found.contains("hidden"), "{found}");
    }
    // Its addresses are known when it is connected to.
    let config = valid(&webhook("http://crm.example.com/", &secret, ""));
    assert!(config.warnings().iter().any(|warning| warning.contains("plain http")));
}

#[test]
fn kinds_are_of_stored_events_and_sources_exist() {
    let folder = tempfile::tempdir().unwrap();
    let secret = secret_file(&folder, SECRET);
    let with = |more: &str| webhook("https://crm.example.com", &secret, more);
    let source = "[[source]]\nname = \"calls\"\nkind = \"directory\"\npath = \"/srv/calls\"\n";
    assert_eq!(valid(&with("")).webhook[0].kinds, ["transcript.final", "alert.raised"]);
    valid(&(with("kinds = [\"job.completed\", \"plugin.hello\"]\nsources = [\"calls\"]") + source));
    for (more, told) in [
        ("kinds = []", "5:9: kinds of webhook \"crm\" is empty"),
        (
            "kinds = [\"job.failed\", \"transcript.partial\"]",
            "5:24: \"transcript.partial\" of webhook \"crm\" is not stored",
        ),
        ("kinds = [\"transcript.finals\"]", "did you mean \"transcript.final\"?"),
        ("kinds = [\"hark.alert.raised\"]", "did you mean \"alert.raised\"?"),
        ("kinds = [\"plugin.*\"]", "is no kind of event"),
        (
            "sources = [\"cals\"]",
            "there is no [[source]] named \"cals\", which webhook \"crm\" listens to; did you mean \"calls\"?",
        ),
        ("secret = \"x\"", "unknown key \"secret\" in [[webhook]]; did you mean \"secret_file\"?"),
    ] {
        let found = mistake(&(with(more) + source));
        assert!(found.contains(told), "{found}");
    }
    let twice = mistake(&(with("") + &with("")));
    assert!(twice.contains("another [[webhook]] is named \"crm\" already"), "{twice}");
}

#[test]
fn a_secret_file_has_one_or_two_secrets_which_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let config = webhook("https://crm.example.com", &secret_file(&folder, text), "");
        let found = mistakes(&config);
        assert!(found.len() <= 1 && !format!("{found:?}").contains("canary"), "{found:?}");
        found.into_iter().next().unwrap_or_default()
    };
    assert_eq!(read(&format!("{SECRET}\n")), "");
    assert_eq!(read(&format!("\n{SECRET}\r\nwhsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVlc=\n")), "");
    for (text, told) in [
        ("", "has 0 lines"),
        ("whsec_QUJD\nwhsec_QUJD\nwhsec_QUJD\n", "has 3 lines"),
        ("canary", "no secret of the Standard Webhooks scheme"),
        ("whsec_", "no secret of the Standard Webhooks scheme"),
        ("whsec_canary-canary", "no secret of the Standard Webhooks scheme"),
    ] {
        let found = read(text);
        assert!(found.starts_with("harkd.toml:4:15: secret_file ") && found.contains(told), "{found}");
    }
    let missing = mistake(&webhook("https://crm.example.com", &"/nowhere/secret".into(), ""));
    assert!(missing.contains("secret_file /nowhere/secret of webhook \"crm\" cannot be read"), "{missing}");

    let config = valid(&webhook("https://crm.example.com", &secret_file(&folder, "whsec_QUJD"), ""));
    assert!(config.warnings().iter().any(|warning| warning.contains("less than the 24 bytes")));
    let dump = format!("{config:?} {:?} {}", config.warnings(), serde_json::to_string(&config).unwrap());
    assert!(!dump.contains("QUJD"), "{dump}");
    assert_eq!(signing_key(&Secret::new("whsec_QUJD")).unwrap(), b"ABC");
}
