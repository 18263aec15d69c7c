use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::valid;
use crate::config::{Config, Secret};

const CANARY: &str = "sk-canary-2f9a";

#[test]
fn a_secret_prints_itself_in_no_way() {
    let secret = Secret::new(&format!("{CANARY}\n"));
    assert_eq!(secret.reveal(), CANARY);
    assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
    assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
}

#[test]
fn a_dump_of_the_whole_config_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for key in ["password_file", "tls_key"] {
        let path = folder.path().join(key);
        fs::write(&path, CANARY).unwrap();
        text += &format!("{key} = {path:?}\n");
    }
    fs::write(folder.path().join("key"), CANARY).unwrap();
    let config = valid(&format!(
        "[nats]\nuser = \"hark\"\ntls_cert = \"/dev/null\"\n{text}[dashscope]\napi_key_file = {:?}\n",
        folder.path().join("key")
    ));
    let key = config.dashscope.api_key().unwrap();
    assert_eq!(key.reveal(), CANARY);
    let dump = format!(
        "{config:?} {config:#?} {key} {} {:?}",
        serde_json::to_string(&config).unwrap(),
        config.warnings()
    );
    assert!(!dump.contains("canary"), "{dump}");
}

#[test]
fn the_key_comes_from_the_file_then_the_credential_then_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("dashscope_api_key"), "of-the-credential\n").unwrap();
    let own = folder.path().join("own");
    fs::write(&own, "of-the-file\n").unwrap();
    let directory: OsString = folder.path().into();

    let mut config = Config::default();
    let with_both = |name: &str| match name {
        "CREDENTIALS_DIRECTORY" => Some(directory.clone()),
        _ => Some("of-the-environment".into()),
    };
    assert_eq!(config.dashscope.api_key_from(with_both).unwrap().reveal(), "of-the-credential");

    let only_variable =
        |name: &str| (name == "DASHSCOPE_API_KEY").then(|| OsString::from("of-the-environment"));
    assert_eq!(config.dashscope.api_key_from(only_variable).unwrap().reveal(), "of-the-environment");

    let barred = |name: &str| match name {
        // A file in place of a folder: the case of a folder without the right to enter cannot be tested as root.
        "CREDENTIALS_DIRECTORY" => Some(folder.path().join("dashscope_api_key").into()),
        _ => Some("of-the-environment".into()),
    };
    let named = config.dashscope.api_key_from(barred).unwrap_err();
    assert!(named.contains("dashscope_api_key/dashscope_api_key"), "passed over: {named}");

    let missing = config.dashscope.api_key_from(|_| None).unwrap_err();
    assert!(missing.contains("dashscope.api_key_file") && missing.contains("DASHSCOPE_API_KEY"), "{missing}");

    config.dashscope.api_key_file = own.clone();
    assert_eq!(config.dashscope.api_key_from(with_both).unwrap().reveal(), "of-the-file");

    fs::write(&own, "\n").unwrap();
    assert!(config.dashscope.api_key_from(with_both).unwrap_err().contains("is empty"));
    config.dashscope.api_key_file = folder.path().join("absent");
    assert!(config.dashscope.api_key_from(with_both).unwrap_err().contains("is not there"));
}

#[test]
fn a_key_that_was_copied_with_its_surroundings_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let mut config = Config::default();
    config.dashscope.api_key_file = file.clone();
    for (text, words) in [
        (format!("\"{CANARY}\"\n"), "quotation marks"),
        (format!("'{CANARY}'"), "quotation marks"),
        (format!("DASHSCOPE_API_KEY={CANARY}\n"), "NAME=value"),
        (format!("export DASHSCOPE_API_KEY = \"{CANARY}\"\n"), "NAME=value"),
        (format!("Bearer {CANARY}"), "Bearer"),
        (format!("# the key\n{CANARY}\n"), "several lines"),
        (format!("\u{feff}{CANARY}"), "byte order mark"),
        (format!("<{CANARY}>"), "no key has"),
        (format!("{CANARY}, old"), "no key has"),
    ] {
        fs::write(&file, text).unwrap();
        let said = config.dashscope.api_key_from(|_| None).unwrap_err();
        assert!(said.contains(words) && !said.contains("canary"), "{said}");
    }
    for good in [CANARY, "st-eyJ0.eyJ1_Q-x.c2ln==", "sk-0123"] {
        fs::write(&file, format!("{good}\n")).unwrap();
        assert_eq!(config.dashscope.api_key_from(|_| None).unwrap().reveal(), good);
    }
}

#[test]
fn a_secret_of_nats_with_its_surroundings_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let warned = |key: &str, text: &str| {
        fs::write(&file, text).unwrap();
        let user = if key == "password_file" { "user = \"hark\"\n" } else { "" };
        let config = valid(&format!("[nats]\n{user}{key} = {file:?}\n"));
        config.warnings().into_iter().find(|text| text.contains(&format!("nats.{key}"))).unwrap_or_default()
    };
    assert!(warned("password_file", "\"canary\"\n").contains("quotation marks"));
    assert!(warned("token_file", "NATS_TOKEN=canary").contains("NAME=value"));
    assert!(warned("nkey_file", "canary").contains("begins with SU"));
    assert_eq!(warned("nkey_file", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"), "");
    assert_eq!(warned("password_file", "a=b \"c\" d"), "");
}

#[test]
fn a_secret_that_lies_open_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, CANARY).unwrap();
    let config = valid(&format!("[dashscope]\napi_key_file = {key:?}\n"));
    let open = |mode: u32| {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        config.warnings().iter().any(|warning| warning.contains("open to all users"))
    };
    assert!(open(0o644));
    assert!(!open(0o640));
    assert!(!open(0o600));
}
